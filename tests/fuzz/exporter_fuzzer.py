#!/usr/bin/env python3
"""Feeds the exporter's readers of files with damaged ones; each reads them or raises ExportError.

    python tests/fuzz/exporter_fuzzer.py [--seconds S] [--seed N] [--keep DIR] [READER ...]
    python tests/fuzz/exporter_fuzzer.py --repeat FILE READER

Readers are config, training, index, options, safetensors, header and names. Inputs are the seeds
below, changed by atheris (which follows the coverage of the exporter) where it is installed, else
at random. Ends with 1 at the first finding, which it prints with its input and how to repeat it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import deserialize

ROOT = Path(__file__).resolve().parents[2]
DICTIONARY = Path(__file__).with_name("exporter.dict")
sys.path.insert(0, str(ROOT / "python"))

try:
    import atheris
except ImportError:
    atheris = None

with (
    atheris.instrument_imports(include=["kvcache_export"]) if atheris else contextlib.nullcontext()
):
    from kvcache_export import families, json_file, precision, rounding
    from kvcache_export.errors import ExportError
    from kvcache_export.families.gpt2 import FAMILY
    from kvcache_export.family import Config, Family
    from kvcache_export.sources import shards, tensor_names, training_config
    from kvcache_export.sources.safetensors_file import DTYPES, SafetensorsFile

KEPT = ROOT / "build-fuzz" / "exporter"
LARGEST_INPUT = 4096
GPT2 = FAMILY.parse({}).spec
SLOW_S = 5
HUNG_S = 25
CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 97,
    "n_positions": 40,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": [0, 3],
}
VALUE_HEAD = {
    **{"hidden_dim": 24, "intermediate_dim": 10, "bottleneck_dim": 6, "use_layer_norm": True},
    **{"activation": "gelu", "output_activation": "tanh", "dropout": 0.1},
}
TRAINING = {
    "model": {
        "type": "ValueCausalLoss",
        "config": {
            "model_config": {
                "type": "GPT2CausalLM",
                "config": {"vocab_size": 97, "hidden_size": 24, "num_heads": 4, "dropout": 0.1},
            },
            "value_head_config": VALUE_HEAD,
        },
    },
}
HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    "c": {"dtype": "F16", "shape": [0, 5], "data_offsets": [26, 26]},
    "d": {"dtype": "F64", "shape": [1], "data_offsets": [26, 34]},
}


@contextlib.contextmanager
def file_of(data: bytes) -> Iterator[Path]:
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, data)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def read_config(data: bytes) -> None:
    with file_of(data) as path:
        check_config(*families.read_config(path))


def read_training(data: bytes) -> None:
    fields = training_config.gpt2_fields(json_file.parse(data, "config"))
    check_config(FAMILY, FAMILY.parse(fields))


def check_config(family: Family, found: Config) -> None:
    spec, attention = found.spec, found.spec.layers[0].attention
    assert spec.hidden_size == attention.num_heads * attention.head_dim
    assert all(
        0 < size < 2**31 and math.prod(shape) <= 2**40
        for shape in spec.parameters().values()
        for size in shape
    )
    assert all(family.tensors(parameter) for parameter in spec.parameters())
    random_ones = [name for name in spec.parameters() if re.search(r"(?<!norm)\.weight$", name)]
    deviations = [found.deviation(name) for name in ("head.weight", *random_ones)]
    for number in (attention.scale, spec.final_norm.epsilon, *deviations):
        assert np.isfinite(np.float32(number)) and np.float32(number) > 0
    tokens = (found.bos_token_id, *found.eos_token_ids)
    assert all(token is None or 0 <= token < spec.vocab_size for token in tokens)
    assert json.loads(json.dumps(spec.to_json(), allow_nan=False)) == spec.to_json()


def read_index(data: bytes) -> None:
    with file_of(data) as path:
        found = shards.shard_of_each(path)
    for name in found.values():
        assert Path(name).name == name and "\0" not in name
        name.encode()


def read_options(data: bytes) -> None:
    value = json_file.parse(data, "options")
    if isinstance(value, dict):
        asked = precision.Precision("float32", "int4", overrides=value)
        asked.of_matrices({role: FAMILY.names(role) for role in GPT2.matrices()})
        json.dumps(value, ensure_ascii=False).encode()  # config.json repeats them
    elif isinstance(value, list) and all(type(token) is int for token in value):
        rounding.token_ids(GPT2, value)


def read_safetensors(data: bytes) -> None:
    with file_of(data) as path:
        file = SafetensorsFile(path)
        values = {key: file.read(key) for key in file if file.dtype(key) in DTYPES}
    if len(values) == len(list(file)):
        for key, expected in deserialize(data):
            assert values[key].shape == tuple(expected["shape"])
            assert values[key].tobytes() == bytes(expected["data"])


def read_header(data: bytes) -> None:
    """The input is a header, whose length is right, before 34 bytes of data."""
    read_safetensors(struct.pack("<Q", len(data)) + data + bytes(range(34)))


def read_names(data: bytes) -> None:
    key = data.decode("utf-8", "surrogateescape")
    name = tensor_names.canonical(key, FAMILY)
    assert tensor_names.canonical(name, FAMILY) == name
    tensor_names.is_harmless(name, FAMILY)
    assert str(tensor_names.unexpected(key, "here"))


def _safetensors(header: dict, size: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(size))


READERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "config": (
        read_config,
        [
            json.dumps(CONFIG).encode(),
            b'{"n_embd": 12, "n_head": 3}',
            json.dumps({**CONFIG, "value_head": VALUE_HEAD}).encode(),
        ],
    ),
    "training": (read_training, [json.dumps(TRAINING).encode()]),
    "index": (read_index, [b'{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}']),
    "options": (
        read_options,
        [b'{"transformer.h.0.*": "float32", "transformer.wt[e]": "int4"}', b"[1, 2, 50256]"],
    ),
    "safetensors": (read_safetensors, [_safetensors(HEADER, 34), _safetensors({}, 0)]),
    "header": (read_header, [json.dumps(HEADER).encode()]),
    "names": (
        read_names,
        [
            b"module._orig_mod.transformer.h.0.attn.masked_bias",
            b"h.1.attn.c_attn.lora_A.weight",
            b"module.model.transformer.h.0.ln_1.bias",
            b"value_head.fc_out.weight",
        ],
    ),
}


def once(reader: str, data: bytes) -> None:
    begin = time.process_time()  # not what other programs take
    with contextlib.suppress(ExportError):
        READERS[reader][0](data)
    if time.process_time() - begin > SLOW_S:
        raise TimeoutError(f"took {time.process_time() - begin:.1f} s")


def words() -> list[bytes]:
    lines = re.findall(r'"(.*)"$', DICTIONARY.read_text(), re.MULTILINE)
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines]


def changed(data: bytes, known: list[bytes], by: random.Random) -> bytes:
    """The input with one to eight pieces inserted, removed, doubled or overwritten."""
    for _ in range(by.randint(1, 8)):
        start = by.randint(0, len(data))
        end = min(len(data), start + by.choice([0, 1, 2, 4, 16, 64]))
        piece = by.choice(
            [by.choice(known), by.randbytes(by.choice([1, 1, 2, 8])), data[start:end] * 2, b""]
        )
        data = data[:start] + piece + data[end:]
    return data[:LARGEST_INPUT]


def end_with(reader: str, file: Path) -> None:
    sys.exit(
        f"{reader}: finding {file.read_bytes()!r}\n"
        f"This repeats it: {sys.executable} {__file__} --repeat {file} {reader}"
    )


def at_random(reader: str, seconds: float, seed: int, keep: Path) -> None:
    by, known, seeds = random.Random(seed), words(), READERS[reader][1]
    for data in seeds:
        READERS[reader][0](data)  # they are good ones
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data, count = changed(by.choice(seeds), known, by), count + 1
        try:
            once(reader, data)
        except BaseException:
            traceback.print_exc()
            found = keep / reader
            found.mkdir(parents=True, exist_ok=True)
            file = found / f"crash-{hashlib.sha1(data).hexdigest()}"  # as libFuzzer names it
            file.write_bytes(data)
            end_with(reader, file)
    print(f"{reader}: {count} inputs, none found (seed {seed})")


def by_coverage(reader: str, seconds: float, seed: int, keep: Path) -> None:
    """In a process of its own, because libFuzzer ends the process."""
    corpus, found = keep / reader / "corpus", keep / reader
    corpus.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    for number, data in enumerate(READERS[reader][1]):
        (corpus / f"seed-{number}").write_bytes(data)
    options = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-seed={seed}",
        f"-dict={DICTIONARY}",
        f"-max_len={LARGEST_INPUT}",
        f"-timeout={HUNG_S}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={found}/",
        str(corpus),
    ]
    command = [sys.executable, __file__, "--in-this-process", reader, "--", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(result.stdout[-3000:], result.stderr[-6000:], file=sys.stderr)
        for file in sorted(set(found.iterdir()) - before):
            end_with(reader, file)
        sys.exit(f"{reader}: ended with {result.returncode}")
    count = re.search(r"number_of_executed_units: (\d+)", result.stderr)
    coverage = re.findall(r"cov: (\d+)", result.stderr)
    print(f"{reader}: {count[1]} inputs, coverage {coverage[-1]}, none found (seed {seed})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="altogether (default: 60)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", default=KEPT, help="for what it learns and finds"
    )
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="read this input, once")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    unknown = set(options.readers) - READERS.keys()
    if unknown:
        parser.error(
            f"no such reader: {', '.join(sorted(unknown))} (there are {', '.join(READERS)})"
        )
    readers = options.readers or list(READERS)
    if options.in_this_process:
        atheris.Setup([sys.argv[0], *rest], lambda data: once(readers[0], data))
        atheris.Fuzz()
        return
    if options.repeat:
        for reader in readers:
            once(reader, options.repeat.read_bytes())
            print(f"{reader}: read or refused as it should be")
        return
    for reader in readers:
        fuzz = by_coverage if atheris else at_random
        fuzz(reader, options.seconds / len(readers), options.seed, options.keep)


if __name__ == "__main__":
    main()
