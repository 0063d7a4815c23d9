"""SmolLM2 as OpenVINO GenAI reads it of a GGUF file, saved in OpenVINO's own format.

    python openvino_smollm2.py OUTPUT_DIR MODEL.gguf
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import openvino_genai


def main() -> None:
    output, model = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=output.parent) as directory:
        os.link(model, Path(directory) / model.name)
        linked = str(Path(directory) / model.name)  # what is made of it is saved beside it
        try:
            openvino_genai.LLMPipeline(linked, "CPU", enable_save_ov_model=True)
        except Exception as error:  # of whatever type its reader throws; its last line is the word
            sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
        os.unlink(linked)
        Path(directory).chmod(0o755)
        os.rename(directory, output)
        os.mkdir(directory)  # which is to be removed


if __name__ == "__main__":
    main()
