"""Fuzzers: each reader of bytes from outside is fed what libFuzzer makes of seeds, for a while.

tests/fuzz/README.md says what there is and how a finding is repeated.
"""

import argparse
import functools
import json
import random
import re
import shlex
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
from paths import BUILD, PYTHON, ROOT
from results import Results, check
from steps import StepError, main, run

FUZZ_BUILD = ROOT / "build-fuzz"
SOURCES = ROOT / "tests" / "fuzz"  # NAME_fuzzer.cpp and, where that helps, NAME.dict
EXPORTER = "exporter"  # the fuzzer in Python
CLANGS = ("clang++-14", "clang++")
CLANG_PACKAGES = "clang-14 libclang-rt-14-dev"  # on Ubuntu before 23.04 the first brings the second
SANITIZERS = "address,undefined,fuzzer-no-link"
MAX_INPUT_BYTES = 4096
SLOW_INPUT_S = 25
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
STATE_HEADER_OF_GROUPS = STATE_HEADER | {"num_layers": 2, "tokens": 9, "first_cached": [1, 5]}
TOKENIZER = {
    "added_tokens": [
        {
            "id": 7,
            "content": "<s>",
            "single_word": False,
            "lstrip": True,
            "rstrip": True,
            "normalized": False,
            "special": True,
        }
    ],
    "normalizer": {"type": "Prepend", "prepend": "_"},
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": " ?\\p{L}+|\\s+(?!\\S)"},
        "behavior": "Isolated",
        "invert": False,
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": {
        "type": "BPE",
        "unk_token": "?",
        "byte_fallback": True,
        "vocab": {"?": 0, "a": 1, "b": 2, "_": 3, "ab": 4, "_ab": 5, "<0x41>": 6},
        "merges": ["a b", ["_", "ab"]],
    },
}

CHAT_TEMPLATE = {
    "format": "kvcache_chat_template",
    "format_version": 1,
    "expressed": True,
    "extends": True,
    "between": [
        {"before": before, "after": after, "text": text, "trim_before": "", "trim_after": " "}
        | ({"generation": False} if after is None else {})
        for before, after, text in (
            (None, "user", ["<s>", {"time": "%d %b %Y"}, "u:"]),
            ("user", "assistant", ["</s>a:"]),
            ("user", None, ["</s>"]),
        )
    ],
    "refused": [{"role": "assistant", "containing": ["<t>"], "empty": True, "blank": False}],
}


TIMES = {"count": 2, "median_ms": 2.5, "p90_ms": 3, "max_ms": 3, "samples_ms": [2, 3]}
ROUNDS = {"median": 2.5, "min": 2, "max": 3, "samples": [2, 3]}
BENCH = {
    "format": "kvcache-bench",
    "format_version": 3,
    "environment": {
        "kvcache_version": "0.1.0",
        "onnxruntime_version": "1",
        "compiler": "GCC",
        "operating_system": "Linux",
        "processor": "<b>",
        "date": "now",
    },
    "model": {
        "model_type": "gpt2",
        "source": "<script>",
        "dtype": "float32",
        "num_layers": 2,
        "num_heads": 2,
        "head_dim": 4,
        "vocab_size": 9,
        "max_seq_len": 64,
        "model_bytes": 1000,
        "cache_bytes_per_token": 10,
        "cache_bytes_per_sequence": 640,
        "weight_bytes_per_token": 900,
    },
    "device": "cpu",
    "threads": 2,
    "rounds": 2,
    "load_ms": 1.5,
    "agreement": {
        "holds": True,
        "tokens_compared": 2,
        "equal": 2,
        "ties": 0,
        "different": 0,
        "largest_logit_difference": 0,
        "tolerance": 1e-4,
    },
    "broken": [],
}
BENCH_MODES = [
    {
        "mode": "sequence",
        "prefill": TIMES | {"tokens": 8},
        "decode": [TIMES | {"depth": 8, "tokens_per_round": 1}],
    },
    {
        "mode": "recompute",
        "tokens": 16,
        "lengths_measured": 9,
        "curve": [{"tokens": 16, "with_cache": TIMES, "without_cache": TIMES, "speedup": ROUNDS}],
    },
    {
        "mode": "tree",
        "prefix": 9,
        "siblings": 3,
        "depth": 1,
        **dict.fromkeys(("tree", "forks", "fresh"), TIMES),
        **dict.fromkeys(("over_forks", "over_fresh"), ROUNDS),
    },
]
PEERS = {
    "format": "kvcache-peers",
    "threads": 2,
    "rounds": 1,
    "baselines": [
        {
            "runtime": "kvcache",
            "variant": "float32",
            "width": "float32",
            "agreement": {"holds": True, "greedy_equal": 1, "greedy_of": 1},
            "runs": [{"decode_ms_8": [1, 2]}],
        }
    ],
}
SEARCH = {
    "game": 0,
    "ply": 1,
    "text": "t",
    "simulations": 1,
    "ms": 1,
    "chosen": "a",
    "nodes": [
        {
            "parent": parent,
            "move": "a",
            "visits": 2,
            "value": 0.5,
            "prior": 1,
            "tokens_computed": 1,
            "tokens_reused": 2,
            "blocks": [1, 1],
            "end": False,
        }
        for parent in (-1, 0)
    ],
}


def _header_seed(header: dict, tokens: Sequence[int], how: int) -> bytes:
    """A state of which the fuzzer makes the rest; `how` is said in saved_state_fuzzer.cpp."""
    keys_and_values = bytes(range(2 * 1 * 2 * (3 + 2))) * len(tokens)
    contents = struct.pack(f"<{len(tokens)}q", *tokens) + keys_and_values
    return bytes([how]) + json.dumps(header).encode() + b"\0" + contents


def _whole_state(header: dict, tokens: Sequence[int]) -> bytes:
    """A state without its checksum, which the fuzzer is asked to append."""
    text, _, contents = _header_seed(header, tokens, 1)[1:].partition(b"\0")
    return b"\1kvcache\0" + struct.pack("<II", 1, len(text)) + text + contents


SEEDS = {
    "calls": [random.Random(number).randbytes(3 * (4 << number)) for number in range(4)],
    "config": [json.dumps(CONFIG).encode()],
    "report": [
        *(json.dumps(BENCH | mode).encode() for mode in BENCH_MODES),
        json.dumps(PEERS).encode(),
        b'{"tokens": [1, 2, 3], "parents": [-1, 0, 0]}',
        json.dumps(SEARCH).encode(),
    ],
    "saved_state": [
        _whole_state(STATE_HEADER, [1, 2, 99]),
        _whole_state(STATE_HEADER | {"tokens": 0}, []),
        _header_seed(STATE_HEADER, [1, 2, 99], 1 | 2),
        _header_seed(STATE_HEADER | {"tokens": 15}, [1, 2, 99], 1 | 2 | 4 | 15 << 3),
        bytes([1 | 4 | 5 << 3]) + struct.pack("<5q", 0, 99, 3, 2, 1),
        bytes([1 | 4 | 9 << 3 | 128]) + struct.pack("<9q", 0, 99, 3, 2, 1, 5, 6, 7, 8),
        bytes([1 | 4 | 6 << 3 | 128]) + struct.pack("<6q", 0, 99, 3, 2, 1, 5),
        _header_seed(STATE_HEADER_OF_GROUPS, list(range(9)), 1 | 2 | 4 | 9 << 3 | 128),
    ],
    "tree_file": [b'{"tokens": [1, 2, 3], "parents": [-1, 0, 0]}', b'{"tokens":[],"parents":[]}'],
    "trigo": [
        b"t[Board 5x5]\n\n1. aa zz\n2. 00 Pass\n3. Pass\n; -1\n",
        b"t[Board 2x2x2]\n\n1. 000 zzz\n2. 0z0 z00\n",
        b'j{"board": [3, 1, 1], "moves": ["a", "z", "0", "Pass", "Pass"]}',
        b"w3x4x5 zzz",
    ],
    "tokenizer": [
        json.dumps(TOKENIZER).encode() + "\0ab <s> aé\n".encode(),
        "hello <s> 你好 \U0001f980\n".encode(),
    ],
    "chat_template": [
        json.dumps(CHAT_TEMPLATE).encode() + "\0 Hé </s>\0ok <t>\0x".encode(),
        b"Hi </s><s>u:\0 ok </think",
    ],
    "choices": [
        b"hello\nhell\r\nhe said\n\0\0\1\2\3\4\5",
        b"ab\nabab\nb\0\0\1",
        "\u00e9\n\u00e8\0\3".encode(),
        b"1,2,3\n1,2\n\0\1\0",
    ],
    "command_line": [
        *(b"1,2, 3", b"50256", b" 1\t2\n", b"9223372036854775807,0"),
        *(b"50256:-inf,198:-2.5", b"0:1e300", b"7:nan", b"-1:0x1p3"),
    ],
    "decoding": [
        b"\0\1\0" + bytes([0xF0, 0x9F, 0xA6, 0x80, 0x68, 0x65, 3, 4, 0xFF]),
        b"\1\0\0" + bytes([0, 1, 2, 3, 4, 5, 6, 7, 200, 230]),
        b"\2\1\1" + bytes(range(0xC0, 0xD0)),
        b"\3\0\2" + bytes([3, 1, 3, 5, 2, 7]),
    ],
    "slash_command": [b"/rewind 2", b"/fork a b", b"/save /tmp/x y", b"/help", b"/switch ", b"/ x"],
}


def run_fuzzers(seconds: int, only: str | None = None) -> Results:
    """Build the fuzzers, or one, and run each for so many seconds, one on each core at a time."""
    chosen = [name for name in names() if only in (None, name)]
    in_cpp = [name for name in chosen if name != EXPORTER]
    results, fuzzers = Results(), {}
    if in_cpp:
        built = _built(in_cpp)
        if built.passed:
            built.passed = 0  # it is the fuzzers that count
            fuzzers = {name: functools.partial(_fuzz, name, seconds) for name in in_cpp}
        results.add(built)
    if EXPORTER in chosen:
        fuzzers[EXPORTER] = functools.partial(_fuzz_exporter, seconds)
    with ThreadPoolExecutor(build.jobs()) as pool:
        for result in pool.map(lambda each: _check(each[0], seconds, each[1]), fuzzers.items()):
            results.add(result)
    return results


def names() -> Iterator[str]:
    """The fuzzers there are."""
    for source in sorted(SOURCES.glob("*_fuzzer.*")):
        yield source.stem.removesuffix("_fuzzer")


def _built(chosen: Sequence[str]) -> Results:
    """Of the build; where there is no compiler for them, the fuzzers are skipped."""
    try:
        compiler = find_compiler()
    except StepError as error:
        return Results(skipped=[f"fuzzer {name} ({error.problem})" for name in chosen])
    return check("build the fuzzers", lambda: _build(compiler, chosen))


def find_compiler() -> str:
    """A clang++ whose libFuzzer and sanitisers are there too.

    Raises:
        StepError: there is none; the problem says what is missing, in one line.
    """
    found = list(filter(None, map(shutil.which, CLANGS)))
    if not found:
        raise StepError(f"needs clang and its libFuzzer: apt-get install {CLANG_PACKAGES}")
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.cpp"
        probe.write_text('extern "C" int LLVMFuzzerTestOneInput(const char*, long) { return 0; }')
        flags = f"-fsanitize={SANITIZERS.replace('-no-link', '')}"
        for compiler in found:
            try:
                run([compiler, flags, probe, "-o", probe.with_suffix("")])
            except StepError:
                continue
            return compiler
    raise StepError(
        f"{' and '.join(found)} cannot link libFuzzer: apt-get install {CLANG_PACKAGES}"
    )


def _build(compiler: str, chosen: Sequence[str]) -> None:
    build.configure(
        FUZZ_BUILD,
        "None",
        CMAKE_CXX_COMPILER=compiler,
        CMAKE_CXX_FLAGS="-O1 -g1",
        KVCACHE_SANITIZE=SANITIZERS,
        # They feed readers: the kernels' other instruction sets take most of the compiler's time.
        KVCACHE_WITHOUT_TARGETS="HWY_SSE4;HWY_AVX3;HWY_AVX3_DL",
        KVCACHE_WARNINGS_AS_ERRORS="OFF",  # those of another compiler than the rest's
        KVCACHE_BUILD_FUZZERS="ON",
        KVCACHE_BUILD_CLI="OFF",
        KVCACHE_BUILD_EXAMPLES="OFF",
        KVCACHE_BUILD_TESTS="OFF",
    )
    build.build(FUZZ_BUILD, *(f"{name}_fuzzer" for name in chosen))


def _check(name: str, seconds: int, fuzz: Callable[[], str]) -> Results:
    """One fuzzer as one check; `fuzz` returns what is said of it."""
    fuzzer = f"fuzzer {name}"
    return check(fuzzer, fuzz, shown=f"{fuzzer}, {seconds} s", beside_others=True)


def _fuzz(name: str, seconds: int) -> str:
    """Run one fuzzer; what it finds goes to build-fuzz/NAME/found, what it learnt beside it."""
    if name == "calls" and not (BUILD / "goldens").exists():
        raise StepError("build/goldens does not exist", advice="scripts/test exports it.")
    directory = FUZZ_BUILD / name
    seeds, corpus, found = (directory / folder for folder in ("seeds", "corpus", "found"))
    shutil.rmtree(seeds, ignore_errors=True)
    for folder in (seeds, corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS.get(name, [])):
        (seeds / str(number)).write_bytes(seed)
    before = set(found.iterdir())
    program = FUZZ_BUILD / "tests" / "fuzz" / f"{name}_fuzzer"
    limits = (f"-timeout={SLOW_INPUT_S}", f"-rss_limit_mb={MEMORY_MB}")
    dictionary = SOURCES / f"{name}.dict"
    try:
        output = run(
            [
                *(program, *limits),
                f"-max_total_time={seconds}",
                f"-max_len={MAX_INPUT_BYTES}",
                f"-artifact_prefix={found}/",
                "-print_final_stats=1",
                *([f"-dict={dictionary}"] if dictionary.exists() else []),
                *(corpus, seeds),
            ]
        )
    except StepError as error:
        findings = sorted(set(found.iterdir()) - before)
        error.advice = "\n".join(
            f"This repeats it: {shlex.join([str(program), *limits, str(finding)])}"
            for finding in findings
        )
        raise
    return _figures(output)


def _fuzz_exporter(seconds: int) -> str:
    """Run that of the exporter's readers; it prints how a finding is repeated."""
    output = run([PYTHON, SOURCES / "exporter_fuzzer.py", "--seconds", str(seconds)])
    inputs = sum(map(int, re.findall(r": (\d+) inputs", output)))
    how = "by coverage" if ", coverage " in output else "at random, for want of atheris"
    return f"ok, {inputs} inputs {how}"


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
    results = run_fuzzers(arguments.seconds, arguments.only)
    for reason in results.skipped:
        print(f"skipped: {reason}")
    print(results)
    return 1 if results.failed else 0


if __name__ == "__main__":
    main(_command_line)
