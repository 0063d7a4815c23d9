"""The program kvcache: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from paths import ROOT
from programs import Program, assert_error

COMMANDS = ["info", "logits", "generate", "score", "eval-tree", "bench", "compare", "view"]


def ids_text(ids: list[int]) -> str:
    return ",".join(map(str, ids))


# ---- Help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_documents_the_exit_status(kvcache: Program, command: list[str]) -> None:
    finished = kvcache(*command, "--help")
    assert finished.returncode == 0
    for text in ("Exit status: 0 ok", "1 the work failed", "2 bad usage", "130 interrupted"):
        assert text in finished.stdout


def test_help_lists_every_command(kvcache: Program) -> None:
    listed = kvcache("--help").stdout
    assert all(f"\n  {name} " in listed for name in COMMANDS)


def test_version_and_build(kvcache: Program) -> None:
    first, *facts = kvcache("--version").stdout.splitlines()
    project = (ROOT / "CMakeLists.txt").read_text()
    assert first == "kvcache " + re.search(r"^  VERSION (\S+)$", project, re.MULTILINE)[1]
    said = {line[:14].strip(): line[14:] for line in facts}
    assert re.fullmatch(r"(GCC|Clang) \d.*", said["Compiler"])
    assert said["Build"].startswith("Release")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*, headers 1\.\d+", said["ONNX Runtime"])
    assert said["CUDA"] in ("in this build", "not in this build")
    assert said["Model files"] == "format 2"
    assert said["Saved states"] == "formats 1 to 3"


# ---- info ----------------------------------------------------------------------------------------


def test_info_shows_sizes_and_device(kvcache: Program, model: Path, config: dict) -> None:
    finished = kvcache("info", model)
    assert finished.returncode == 0
    facts = dict(line.split("  ", 1) for line in finished.stdout.splitlines())
    layers = config["spec"]["layers"]
    assert facts["Layers"].strip() == str(len(layers))
    rows = (layer["attention"]["num_kv_heads"] * layer["attention"]["head_dim"] for layer in layers)
    per_token = 2 * 4 * sum(rows)
    assert f"({per_token} bytes)" in facts["Cache per token"]
    assert f"({per_token * config['spec']['max_seq_len']} bytes)" in facts["Cache per sequence"]
    assert facts["Device"].strip().startswith("cpu: ")


def test_info_as_json(kvcache: Program, model: Path, config: dict) -> None:
    info = json.loads(kvcache("info", model, "--json", "--threads", 1).stdout)
    attention = config["spec"]["layers"][0]["attention"]
    assert info["num_layers"] == len(config["spec"]["layers"])
    for source, names in (
        (attention, ("num_heads", "head_dim")),
        (config["spec"], ("vocab_size", "max_seq_len")),
        (config, ("dtype", "cache_dtype")),
    ):
        assert {name: info[name] for name in names} == {name: source[name] for name in names}
    assert info["model_bytes"] == sum(file["bytes"] for file in config["files"])
    assert info["threads"] == 1


def test_a_required_device_that_is_not_there(kvcache: Program, model: Path) -> None:
    finished = kvcache("info", model, "--device", "cuda")
    if finished.returncode == 0:
        pytest.skip("this machine and build have CUDA")
    assert_error(finished, 2, "require_device is cuda")


# ---- logits --------------------------------------------------------------------------------------


def test_logits_are_those_of_hugging_face(
    kvcache: Program, golden: tuple[Path, Path], tmp_path: Path
) -> None:
    model, reference = golden
    ids = json.loads((reference / "golden.json").read_text())["ids"]
    npy = tmp_path / "logits.npy"

    finished = kvcache("logits", model, "--ids", ids_text(ids), "--npy", npy)

    assert finished.returncode == 0, finished.stderr
    expected = np.load(reference / "logits.npy")
    found = np.load(npy)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    top = [line.split() for line in finished.stdout.splitlines()]
    assert [int(token) for token, _ in top] == list(np.argsort(-found[-1], kind="stable")[:5])
    assert np.allclose([float(logit) for _, logit in top], np.sort(found[-1])[:-6:-1], atol=1e-5)


def test_top_5_without_a_file_is_the_same(kvcache: Program, model: Path, tmp_path: Path) -> None:
    with_file = kvcache("logits", model, "--ids", "1,2,3", "--npy", tmp_path / "x.npy")
    without = kvcache("logits", model, "--ids", "1,2,3")
    assert [line.split()[0] for line in with_file.stdout.splitlines()] == [
        line.split()[0] for line in without.stdout.splitlines()
    ]


@pytest.mark.parametrize("ids", ["1,2,3", "1 2 3", " 1, 2,3 ", "1,2 3", "1\t2\n3"])
def test_ids_may_be_separated_by_commas_and_spaces(kvcache: Program, model: Path, ids: str) -> None:
    expected = kvcache("logits", model, "--ids", "1,2,3").stdout
    assert kvcache("logits", model, "--ids", ids).stdout == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("", "no token ids were given"),
        (" ", "no token ids were given"),
        ("1,,2", "an id is missing before, between or after commas"),
        ("1,2,", "an id is missing"),
        ("1,x", '"x" is not a token id'),
        ("1.5", '"1.5" is not a token id'),
        ("0x10", '"0x10" is not a token id'),
        ("99999999999999999999", "is too large for a token id"),
        ("-1", "token 0 of the input is -1"),
        ("1,1000000", "token 1 of the input is 1000000"),
    ],
)
def test_bad_ids(kvcache: Program, model: Path, ids: str, message: str) -> None:
    assert_error(kvcache("logits", model, "--ids", ids), 2, message)


def test_a_prompt_longer_than_the_context(kvcache: Program, model: Path, config: dict) -> None:
    ids = ids_text([1] * (config["spec"]["max_seq_len"] + 1))
    assert_error(kvcache("logits", model, "--ids", ids), 2, "do not fit", "reset the sequence")


def test_a_file_that_cannot_be_written(kvcache: Program, model: Path, tmp_path: Path) -> None:
    npy = tmp_path / "missing" / "x.npy"
    finished = kvcache("logits", model, "--ids", "1", "--npy", npy)
    assert_error(finished, 1, f"cannot write {npy}", "No such file or directory")


def test_a_failed_run_leaves_no_file(kvcache: Program, model: Path, tmp_path: Path) -> None:
    assert kvcache("logits", model, "--ids", "-1", "--npy", tmp_path / "x.npy").returncode == 2
    assert not list(tmp_path.iterdir())


# ---- generate ------------------------------------------------------------------------------------


def test_generates_the_tokens_of_hugging_face(kvcache: Program, golden: tuple[Path, Path]) -> None:
    model, reference = golden
    expected = json.loads((reference / "golden.json").read_text())
    arguments = ["--ids", ids_text(expected["prompt"])]
    finished = kvcache("generate", model, *arguments, "--max-new-tokens", len(expected["greedy"]))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == " ".join(map(str, expected["greedy"])) + "\n"


def test_generates_up_to_the_context_limit(kvcache: Program, model: Path, config: dict) -> None:
    most = config["spec"]["max_seq_len"] - 2 + 1  # the last token is not fed
    finished = kvcache("generate", model, "--ids", "1,2", "--max-new-tokens", most)
    assert len(finished.stdout.split()) == most
    refused = kvcache("generate", model, "--ids", "1,2", "--max-new-tokens", most + 1)
    assert_error(refused, 2, "do not fit", f"ask for at most {most} new tokens")


def test_tokens_arrive_as_they_come(kvcache_path: Path, model: Path) -> None:
    command = [kvcache_path, "generate", model, "--ids", "1", "--max-new-tokens", "3"]
    whole = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        pieces = []
        while piece := process.stdout.read(1):
            pieces.append(piece)
    assert b"".join(pieces).decode() == whole


def test_generate_within_a_window(kvcache: Program, model: Path, config: dict) -> None:
    tokens = 2 * config["spec"]["max_seq_len"]
    command = ["generate", model, "--ids", "1,2,3", "--max-new-tokens", tokens]
    assert_error(kvcache(*command), 2, "tokens do not fit")
    finished = kvcache(*command, "--window", 8, "--sinks", 2)
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.split()) == tokens
    assert_error(kvcache(*command, "--window", 8, "--sinks", 8), 2, "8 sinks leave no room")
    assert_error(kvcache(*command, "--stride", 100_000), 2, "does not fit")


def test_output_that_cannot_be_written(kvcache: Program, model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        finished = kvcache("generate", model, "--ids", "1", "--max-new-tokens", 2, stdout=full)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: cannot write to standard output")


# ---- eval-tree -----------------------------------------------------------------------------------


def write_tree(path: Path, tokens: object, parents: object) -> Path:
    path.write_text(json.dumps({"tokens": tokens, "parents": parents}))
    return path


def test_eval_tree_gives_the_logits_of_each_path(
    kvcache: Program, golden: tuple[Path, Path], tmp_path: Path
) -> None:
    model, reference = golden
    ids = json.loads((reference / "golden.json").read_text())["ids"]
    expected = np.load(reference / "logits.npy")
    # The golden's own text as one path, and a sibling at each node.
    prefix, path = ids[:3], ids[3:9]
    tokens = [token for node in path for token in (node, 1)]
    parents = [parent for depth in range(len(path)) for parent in [2 * depth - 2] * 2]
    parents[:2] = [-1, -1]
    tree, npy = tmp_path / "tree.json", tmp_path / "tree.npy"
    write_tree(tree, tokens, parents)
    finished = kvcache("eval-tree", model, "--ids", ids_text(prefix), "--tree", tree, "--npy", npy)
    assert finished.returncode == 0, finished.stderr
    found = np.load(npy)
    assert found.shape == (len(tokens), expected.shape[1])
    scale = np.abs(expected).max()
    assert np.abs(found[::2] - expected[3:9]).max() <= 1e-4 * scale
    *lines, last = finished.stdout.splitlines()
    assert f"{len(tokens)} of {len(tokens)} tokens equal" in last
    for node, line in enumerate(lines):
        assert line.startswith(f"{node} {parents[node]} {found[node].argmax()} ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON (byte 2)"),
        ('{"tokens": [1]}', 'field "parents" is missing; give {"tokens": [ids], "parents": ['),
        ('{"tokens": [1.5], "parents": [-1]}', 'field "tokens[0]" is 1.5, must be a whole number'),
        ('{"tokens": "1", "parents": [-1]}', 'field "tokens" is "1", must be an array'),
        ('{"tokens": [1], "parents": [4294967295]}', '"parents[0]" is 4294967295, must be'),
        ('{"tokens": [1, 2], "parents": [-1, 4294967296]}', "from -1 to 2147483647"),
        ('{"tokens": [1], "parents": [-2]}', '"parents[0]" is -2, must be a whole number from -1'),
        ('{"tokens": [18446744073709551615], "parents": [-1]}', "must be a whole number"),
        ('{"tokens": [1], "tokens": [2], "parents": [-1]}', 'field "tokens" is there twice'),
        ('{"tokens": ' + "[" * 1_000_000, "nested more than"),
        ("[1]", "must be an object"),
        ('{"tokens": [1, 2], "parents": [-1]}', "2 tokens and 1 parents"),
        ('{"tokens": [1, 2], "parents": [1, -1]}', "node 0 of the tree has parent 1"),
        ('{"tokens": [], "parents": []}', "no tokens"),
        ('{"tokens": [100000000], "parents": [-1]}', "must be in [0, "),
    ],
)
def test_eval_tree_refuses(
    kvcache: Program, model: Path, tmp_path: Path, text: str, message: str
) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(text)
    npy = tmp_path / "tree.npy"
    finished = kvcache("eval-tree", model, "--ids", "1,2", "--tree", tree, "--npy", npy)
    assert_error(finished, 2, message)
    assert not npy.exists()


def test_eval_tree_without_its_file(kvcache: Program, model: Path) -> None:
    finished = kvcache("eval-tree", model, "--ids", "1", "--tree", "/missing.json")
    assert_error(finished, 2, "--tree: /missing.json cannot be read: No such file or directory")


# ---- bench ---------------------------------------------------------------------------------------


QUICK = ["--prompt", 8, "--tokens", 12, "--depth", "2,6", "--repeat", 2]


def test_bench_as_json_only(kvcache: Program, model: Path) -> None:
    finished = kvcache("bench", model, *QUICK, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    bench = json.loads(finished.stdout)
    assert bench["agreement"]["holds"]
    assert bench["broken"] == []
    assert bench["weights_moved"]
    assert bench["agreement"]["tokens_compared"] == 6
    assert bench["agreement"]["largest_logit_difference"] <= 1e-4
    assert bench["prefill"]["tokens"] == 8
    assert len(bench["prefill"]["samples_ms"]) == 2
    assert [entry["depth"] for entry in bench["decode"]] == [2, 6]
    for entry in bench["decode"]:
        assert len(entry["samples_ms"]) == 2 * 12
        assert entry["min_ms"] <= entry["median_ms"] <= entry["p90_ms"] <= entry["max_ms"]
        share = entry["bandwidth_share"]
        assert 0 < share["p10"] <= share["median"] <= share["p90"]
        assert len(share["samples"]) == 2 * 2  # groups of at most 8 tokens
    samples = next(iter(bench["read_bandwidth"]["shapes"].values()))["samples"]
    assert len(samples) == 2 * 2 * 3  # before each group, and after the last one
    for name in ("processor", "onnxruntime_version", "kvcache_version", "date"):
        assert bench["environment"][name]


def test_bench_counts_the_bytes_that_a_token_reads(
    kvcache: Program, model: Path, config: dict
) -> None:
    bench = json.loads(kvcache("bench", model, *QUICK, "--json", "-").stdout)
    weights = config["weight_bytes_per_token"]
    assert bench["decode"][0]["bytes_per_token"] == pytest.approx(
        weights + (2 + 5.5) * bench["model"]["cache_bytes_per_token"]
    )
    entry, bandwidth = bench["decode"][0], bench["read_bandwidth"]
    before, after = bandwidth["shapes"][bandwidth["shape"]]["samples"][:2]
    floor_ms = 1e3 * weights * (1 / before + 1 / after) / 2
    ratio = median(entry["samples_ms"][:8]) / floor_ms
    assert entry["weights_ratio"]["samples"][0] == pytest.approx(ratio)
    grown = 1 + (2 + 3.5) * bench["model"]["cache_bytes_per_token"] / weights
    assert entry["bandwidth_share"]["samples"][0] == pytest.approx(grown / ratio)


def test_bench_prints_a_table_and_writes_a_file(
    kvcache: Program, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    finished = kvcache("bench", model, *QUICK, "--json", file, "--verbose")
    assert finished.returncode == 0, finished.stderr
    for text in ("prefill of 8", "decode at depth 2", "decode at depth 6", "6 of 6 tokens equal"):
        assert text in finished.stdout
    assert "round 2 of 2" in finished.stderr
    assert json.loads(file.read_text())["format"] == "kvcache-bench"


@pytest.mark.parametrize(
    ("mode", "options", "figure"),
    [
        ("recompute", ["--tokens", 20], "lengths were measured"),
        ("fork", ["--prompt", 21], "copied by forks"),
        ("tree", ["--prompt", 9, "--siblings", 5], "5 continuations of 9 tokens"),
        ("search", ["--rows", 3, "--nodes", 4], "A step of 3 games takes"),
        ("batch", ["--rows", 3, "--tokens", 4, "--depth", 6], "3 ragged rows"),
        ("window", ["--window", 8, "--stride", 4, "--sinks", 2, "--tokens", 21], "amortised"),
        (
            "evaluator",
            ["--clients", 3, "--tokens", 4, "--depth", 6],
            "longer than the direct call's",
        ),
        ("start", [], "moved beside the tokens"),
        ("save", ["--prompt", 20], "Loading is faster by"),
    ],
)
def test_bench_modes_agree_and_report(
    kvcache: Program, model: Path, mode: str, options: list[object], figure: str
) -> None:
    command = ["bench", model, "--mode", mode, *options, "--repeat", 2]
    finished = kvcache(*command)
    assert finished.returncode == 0, finished.stderr
    assert figure in finished.stdout
    bench = json.loads(kvcache(*command, "--json", "-").stdout)
    assert bench["mode"] == mode
    assert bench["agreement"]["holds"]
    assert bench["agreement"]["tokens_compared"] > 0
    assert bench["broken"] == []


def test_bench_of_forks_counts_what_is_copied(kvcache: Program, model: Path) -> None:
    bench = kvcache("bench", model, "--mode", "fork", "--prompt", 21, "--repeat", 1, "--json", "-")
    figures = json.loads(bench.stdout)
    assert figures["bytes_copied_by_forks"] == 0
    assert figures["bytes_allocated_by_forks"] == 0
    assert 0 < figures["bytes_copied_by_first_write"] <= figures["block_bytes"]


def test_bench_of_more_rows_than_the_cache_holds(kvcache: Program, model: Path) -> None:
    command = ["bench", model, "--mode", "batch", "--rows", 300, "--tokens", 2, "--repeat", 1]
    assert_error(kvcache(*command), 1, "the cache's budget of 32 blocks", "is used up")
    assert kvcache(*command, "--cache-mib", 64).returncode == 0


@pytest.mark.full
def test_bench_draws_the_break_even_curve(kvcache: Program, model: Path) -> None:
    bench = kvcache("bench", model, "--mode", "tree", "--curve", "--repeat", 1, "--json", "-")
    curve = json.loads(bench.stdout)["curve"]
    assert {point["siblings"] for point in curve} == {1, 2, 4, 8, 16, 32, 64}
    assert all(point["over_forks"]["median"] > 0 for point in curve)


def test_bench_chooses_what_fits_a_small_model(kvcache: Program, model: Path) -> None:
    finished = kvcache("bench", model, "--repeat", 1)
    assert finished.returncode == 0, finished.stderr
    assert "decode at depth 8" in finished.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", 100_000], "the tokens of --prompt 100000 do not fit: the model has"),
        (["--depth", "8,100000"], "--depth 100000 and"),
        (["--tokens", 100_000], "--tokens 100000: the model has"),
        (["--tokens", 0], '"0" is not a whole number from 1'),
        (["--depth", "8,x"], '"x" is not a whole number from 1'),
        (["--prompt", 2**64 - 1], "is not a whole number from 1 to 2147483647"),
        (["--mode", "fork", "--prompt", 2**31 - 1], "and one more do not fit"),
        (["--mode", "batch", "--rows", 2**60], "is not a whole number from 1 to 1048576"),
        (["--mode", "tree", "--siblings", 2**60], "is not a whole number from 1 to 1048576"),
        (["--depth", "-1"], "--depth"),
        (
            ["--mode", "fly"],
            "--mode: fly not in {sequence,recompute,fork,tree,batch,search,evaluator,window,",
        ),
        (["--siblings", 3], "--siblings is not for --mode sequence; it has --prompt --tokens"),
        (["--mode", "tree", "--rows", 3], "--rows is not for --mode tree"),
        (["--mode", "start", "--rows", 3], "--rows is not for --mode start; it has none"),
        (["--mode", "tree", "--prompt", 100_000], "the tokens of --prompt 100000 and one more"),
        (["--mode", "fork", "--prompt", 64], "the tokens of --prompt 64 and one more do not fit"),
        (["--mode", "save", "--prompt", 64], "the tokens of --prompt 64 and one more do not fit"),
        (["--mode", "batch", "--depth", "3,4"], "--depth: one value is needed"),
        (["--mode", "evaluator", "--depth", "3,4"], "--depth: one value is needed"),
        (["--mode", "evaluator", "--depth", 100], "texts of 116 tokens (--depth + --tokens) do"),
        (["--mode", "evaluator", "--clients", 5000], "is not a whole number from 1 to 4096"),
        (["--mode", "batch", "--depth", 100], "do not fit: the model has"),
        (["--mode", "window", "--window", 100_000], "does not fit: size + stride"),
        (["--json", "/missing/x.json"], "cannot write /missing/x.json"),
    ],
)
def test_bench_refuses(kvcache: Program, model: Path, options: list[object], message: str) -> None:
    assert_error(kvcache("bench", model, *options), 1 if "/missing" in message else 2, message)


@pytest.mark.usefixtures("heeded_signals")
def test_interrupting_a_bench_leaves_no_file(kvcache_path: Path, model: Path, tmp_path: Path):
    command = [kvcache_path, "bench", model, "--repeat", "1000000", "--verbose"]
    options = ["--json", tmp_path / "bench.json"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        while not process.stderr.readline().startswith("round 2 "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert errors[-1] == "error: interrupted"
    assert not list(tmp_path.iterdir())


# ---- Usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "see kvcache --help"),
        (["fly"], "fly is no command; see kvcache --help"),
        (["info"], "MODEL_DIR is required; see kvcache info --help"),
        (["logits", "x"], "--ids is required; see kvcache logits --help"),
        (["generate", "x", "--ids", "1"], "--max-new-tokens is required"),
        (["generate", "x", "--ids", "1", "--max-new-tokens", "0"], '"0" is not a whole number'),
        (["info", "x", "--threads", "0"], '"0" is not a whole number from 1 to 2147483647'),
        (["info", "x", "--threads", "2147483648"], '"2147483648" is not a whole number from 1'),
        (["info", "x", "--threads", "1.5"], '"1.5" is not a whole number from 1'),
        (["info", "x", "--threads", "0x4"], '"0x4" is not a whole number from 1'),
        (["info", "x", "--cache-mib", "0"], '"0" is not a whole number from 1 to 134217728'),
        (["info", "x", "--cache-mib", 2**27 + 1], "is not a whole number from 1 to 134217728"),
        (["info", "x", "--cache-mib", 2**44], "is not a whole number from 1 to 134217728"),
        (["info", "x", "--cache-mib", 2**44 + 1], "is not a whole number from 1 to 134217728"),
        (["info", "x", "--cache-mib", 2**64 + 1], "is not a whole number from 1 to 134217728"),
        (
            ["generate", "x", "--ids", "1", "--max-new-tokens", "1", "--sinks", "-1"],
            '"-1" is not a whole number from 0 to 2147483647',
        ),
        (["logits", "x", "--ids", "1", "--npy", ""], "--npy: the name of a file is missing"),
        (["bench", "x", "--json", ""], "--json: the name of a file is missing"),
        (["info", "x", "--device", "tpu"], "--device: tpu not in {cpu,cuda}"),
        (["info", "x", "--fast"], "--fast"),
        (["info", "/missing"], "/missing does not exist"),
    ],
)
def test_bad_usage(kvcache: Program, arguments: list[str], message: str) -> None:
    assert_error(kvcache(*arguments), 2, message)


def test_a_damaged_model(kvcache: Program, model: Path, config: dict, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / config["files"][0]["name"]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert_error(kvcache("info", tmp_path), 2, damaged.name, "export")
