"""Fuzzers: each reader of bytes from outside is fed what libFuzzer makes of seeds, for a while."""

import argparse
import json
import re
import shutil
import struct
from collections.abc import Iterator

import build
from paths import PYTHON, ROOT
from results import Results
from steps import StepError, main, run, step

FUZZ_BUILD = ROOT / "build-fuzz"
SOURCES = ROOT / "tests" / "fuzz"  # NAME_fuzzer.cpp and, where that helps, NAME.dict
CLANGS = ("clang++-14", "clang++")
SANITIZERS = "address,undefined,fuzzer-no-link"
MAX_INPUT_BYTES = 4096
SLOW_INPUT_S = 10
MEMORY_MB = 2048

NORM = {"kind": "layer_norm", "epsilon": 1e-5, "bias": True}
LAYER = {
    "norm": NORM,
    "attention": {
        "num_heads": 3,
        "num_kv_heads": 3,
        "head_dim": 4,
        "scale": 0.5,
        "bias": {"qkv": True, "output": True},
        "rotary": {"dims": 4, "base": 10000.0, "interleaved": False},
        "window": None,
        "soft_cap": None,
        "qk_norm": None,
    },
    "mlp": {
        "inner_size": 48,
        "activation": "gelu_tanh",
        "gated": False,
        "bias": {"up": True, "down": True},
    },
}
CONFIG = {
    "format": "kvcache",
    "format_version": 2,
    "variant": "cached_attention",
    "model_file": "m.onnx",
    "model_type": "gpt2",
    "source": "a seed",
    "dtype": "float32",
    "cache_dtype": "int8",
    "weights": "int4",
    "activations": "int8",
    "spec": {
        "hidden_size": 12,
        "vocab_size": 50,
        "max_seq_len": 64,
        "embedding": {"scale": 1.0, "positions": "learned"},
        "layers": [LAYER, LAYER],
        "final_norm": NORM,
        "head": {"tied": True, "soft_cap": None},
    },
    "outputs": [{"name": "logits", "shape": ["tokens", "vocab_size"], "tokens": "selected"}],
    "weight_bytes_per_token": 1000,
    "files": [
        {"name": "m.onnx", "role": "graph", "bytes": 10, "xxh3_128": "0123456789abcdef" * 2},
        {"name": "m.onnx.data", "role": "weights", "bytes": 20, "xxh3_128": "fedcba9876543210" * 2},
    ],
}
STATE_HEADER = {  # of the model in saved_state_fuzzer.cpp
    "model_digest": "0123456789abcdef0123456789abcdef",
    "num_layers": 1,
    "num_heads": 2,
    "head_dim": 3,
    "element_bytes": 1,
    "tokens": 3,
}


def _state(header: dict) -> bytes:
    """A state without its checksum, after the byte that asks for a right one."""
    text = json.dumps(header).encode()
    tokens = struct.pack("<3q", 1, 2, 99)
    keys_and_values = bytes(2 * 1 * 2 * 3 * (3 + 2))
    return b"\1kvcache\0" + struct.pack("<II", 1, len(text)) + text + tokens + keys_and_values


SEEDS = {
    "config": [json.dumps(CONFIG).encode()],
    "saved_state": [_state(STATE_HEADER), _state(STATE_HEADER | {"tokens": 0})],
    "tree_file": [b'{"tokens": [1, 2, 3], "parents": [-1, 0, 0]}', b'{"tokens":[],"parents":[]}'],
    "command_line": [b"1,2, 3", b"50256", b" 1\t2\n", b"9223372036854775807,0"],
}


def run_fuzzers(seconds: int) -> Results:
    """Build the fuzzers and run each for so many seconds."""
    compiler = next(filter(None, map(shutil.which, CLANGS)), None)
    if compiler is None:
        return Results(skipped=["fuzzers (clang is not installed: apt-get install clang-14)"])
    try:
        with step("test", "build the fuzzers"):
            _build(compiler)
    except StepError as error:
        print(error, flush=True)
        return Results(failed=["build the fuzzers"])
    results = Results()
    for name in names():
        results.add(_fuzz(name, seconds))
    results.add(_fuzz_exporter(seconds))
    return results


def names() -> Iterator[str]:
    """The fuzzers there are."""
    for source in sorted(SOURCES.glob("*_fuzzer.cpp")):
        yield source.stem.removesuffix("_fuzzer")


def _build(compiler: str) -> None:
    build.configure(
        FUZZ_BUILD,
        "None",
        CMAKE_CXX_COMPILER=compiler,
        CMAKE_CXX_FLAGS="-O1 -g1",
        KVCACHE_SANITIZE=SANITIZERS,
        KVCACHE_BUILD_FUZZERS="ON",
        KVCACHE_BUILD_CLI="OFF",
        KVCACHE_BUILD_EXAMPLES="OFF",
        KVCACHE_BUILD_TESTS="OFF",
    )
    build.build(FUZZ_BUILD, "fuzzers")


def _fuzz(name: str, seconds: int) -> Results:
    """Run one fuzzer; what it finds goes to build-fuzz/NAME/found, what it learnt beside it."""
    directory = FUZZ_BUILD / name
    seeds, corpus, found = (directory / folder for folder in ("seeds", "corpus", "found"))
    for folder in (seeds, corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS.get(name, [])):
        (seeds / str(number)).write_bytes(seed)
    dictionary = SOURCES / f"{name}.dict"
    check = f"fuzzer {name}"
    try:
        with step("test", f"{check}, {seconds} s") as outcome:
            output = run(
                [
                    FUZZ_BUILD / "tests" / "fuzz" / f"{name}_fuzzer",
                    f"-max_total_time={seconds}",
                    f"-max_len={MAX_INPUT_BYTES}",
                    f"-timeout={SLOW_INPUT_S}",
                    f"-rss_limit_mb={MEMORY_MB}",
                    f"-artifact_prefix={found}/",
                    "-print_final_stats=1",
                    *([f"-dict={dictionary}"] if dictionary.exists() else []),
                    *(corpus, seeds),
                ],
                advice=f"The input is in {found}: run the program with its name.",
            )
            outcome.text = _figures(output)
    except StepError as error:
        print(error, flush=True)
        return Results(failed=[check])
    return Results(passed=1)


def _fuzz_exporter(seconds: int) -> Results:
    """Run that of the exporter's readers, in Python."""
    check = "fuzzer exporter"
    try:
        with step("test", f"{check}, {seconds} s") as outcome:
            run([PYTHON, SOURCES / "exporter_fuzzer.py", "--seconds", str(seconds)])
            outcome.text = "ok"
    except StepError as error:
        print(error, flush=True)
        return Results(failed=[check])
    return Results(passed=1)


def _figures(output: str) -> str:
    """Executions and edges reached, from what libFuzzer prints."""
    executions = re.search(r"stat::number_of_executed_units: (\d+)", output)
    coverage = re.findall(r"cov: (\d+)", output)
    return (
        f"ok, {executions[1] if executions else '?'} executions, "
        f"{coverage[-1] if coverage else '?'} edges"
    )


def _command_line() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each fuzzer (default: 60)")
    parser.add_argument("--only", choices=list(names()), help="one of them")
    arguments = parser.parse_args()
    if arguments.only is not None:
        _build(next(filter(None, map(shutil.which, CLANGS))))
        results = _fuzz(arguments.only, arguments.seconds)
    else:
        results = run_fuzzers(arguments.seconds)
    print(results)
    return 1 if results.failed else 0


if __name__ == "__main__":
    main(_command_line)
