"""SmolLM2 as onnxruntime-genai's own builder exports it, with the weights of our file.

    python genai_smollm2.py OUTPUT_DIR fp32|int4

The builder reads Hugging Face's checkpoint, which is written of the GGUF file's tensors first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import smollm2
from safetensors.numpy import save_file


def write_checkpoint(directory: Path) -> None:
    """SmolLM2 in float32 as a checkpoint of Hugging Face's."""
    file = smollm2.GgufFile(smollm2.path())
    directory.mkdir(exist_ok=True)
    tensors = {name: np.ascontiguousarray(file.read(name)) for name in file}
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    config = {**file.fields(), "architectures": ["LlamaForCausalLM"], "torch_dtype": "float32"}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text(file.tokenizer_json())  # the builder copies it
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(names))


def main() -> None:
    output, precision = Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(dir=output.parent) as directory:
        checkpoint = Path(directory)
        write_checkpoint(checkpoint)
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        options = ["-i", checkpoint, "-o", output, "-p", precision, "-e", "cpu"]
        subprocess.run([*builder, *options, "-c", checkpoint / "cache"], check=True)


if __name__ == "__main__":
    main()
