"""SmolLM2 as OpenVINO GenAI reads it of a GGUF file, saved in OpenVINO's own format.

python openvino_smollm2.py OUTPUT_DIR MODEL.gguf
"""

from __future__ import annotations

import sys
from pathlib import Path

import openvino_genai


def main() -> None:
    output, model = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir()
    linked = output / model.name  # what is made of a file is saved beside it
    linked.hardlink_to(model)
    try:
        openvino_genai.LLMPipeline(str(linked), "CPU", enable_save_ov_model=True)
    except Exception as error:  # its reader throws many types; one line of them is shown
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
    linked.unlink()


if __name__ == "__main__":
    main()
