"""The program trigo_selfplay: what it plays, writes and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))
PROGRAM = BUILD / "trigo_selfplay"
TACTICS = ROOT / "examples" / "trigo" / "tactics.json"
# The tiny model has 64 positions and likes long lines: little is played with it.
TINY = ("--model", MODELS / "value-head", "--board", "7x1x1")
SHORT = ("--simulations", 4, "--max-moves", 2)
ROLLOUTS = ("--player", "rollouts", "--board", "3x3x1", "--simulations", 30)


def run(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], text=True, input=text, capture_output=True, check=False
    )


def figures(*arguments: object) -> dict:
    finished = run(*arguments, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_the_figures_of_self_play(tmp_path: Path) -> None:
    finished = run(*TINY, *SHORT, "--games", 3, "--json", tmp_path / "figures.json")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("3 games, 6 moves, ")
    found = json.loads((tmp_path / "figures.json").read_text())
    assert (found["games"], found["moves"], found["searches"]) == (3, 6, 6)
    assert found["player"] == "model:4"
    assert found["board"] == "7x1x1"
    assert found["black_wins"] + found["white_wins"] + found["ties"] == 3
    assert found["ms_per_move"] > 0
    assert 0 < found["share_of_game_logic"] < 1
    assert found["evaluations"] <= 6 * 4 + 3
    assert found["evaluations_per_s"] > 0
    assert found["positions_per_s"] * found["seconds"] == pytest.approx(24)
    assert set(found["seconds_by_part"]) == {"rules", "text", "tree", "policy", "model"}
    assert sum(found["seconds_by_part"].values()) <= found["seconds_in_games"]
    assert int(found["visit_hash"], 16)


@pytest.mark.parametrize(
    "otherwise",
    [
        ("--cache", "off"),
        ("--threads", 3),
        ("--in-flight", 3),
        ("--block-len", 5),
        ("--priors", "with-value"),
        ("--priors", "when-needed", "--cache", "off"),
        ("--priors", "when-needed", "--in-flight", 2),
    ],
    ids=str,
)
def test_however_it_is_computed_the_visits_are_the_same(otherwise: tuple) -> None:
    usual = figures(*TINY, *SHORT, "--games", 5)
    other = figures(*TINY, *SHORT, "--games", 5, *otherwise)
    assert other["visit_hash"] == usual["visit_hash"]
    assert ("evaluator" in other) == ("--in-flight" in otherwise)


def test_games_from_a_number_on_are_those_of_the_whole_row(tmp_path: Path) -> None:
    def lines(*which: object) -> list[str]:
        file = tmp_path / "games.jsonl"
        finished = run(*ROLLOUTS, *which, "--data", file)
        assert finished.returncode == 0, finished.stderr
        return file.read_text().splitlines()

    assert lines("--games", 3, "--first-game", 4, "--threads", 2) == lines("--games", 7)[4:]


def test_games_on_demand_are_those_of_their_numbers(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    assert run(*ROLLOUTS, "--games", 9, "--data", whole).returncode == 0
    games = whole.read_text().splitlines()
    finished = run(*ROLLOUTS, "--threads", 2, "--leases", text="4 3\n0 1\n5 4\n")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == games[4:7] + games[0:1] + games[5:9]
    assert run(*ROLLOUTS, "--leases").stdout == ""


@pytest.mark.parametrize("line", ["", "3", "1  2", "1 0", "-1 2", "1 2 3", "a b", f"0 {1 << 64}"])
def test_a_line_that_is_no_lease_is_told(line: str) -> None:
    finished = run(*ROLLOUTS, "--leases", text=f"2 1\n{line}\n3 1\n")
    assert finished.returncode == 2
    assert len(finished.stdout.splitlines()) == 1
    assert "a line of standard input must be FIRST COUNT" in finished.stderr
    assert f'it is "{line}"' in finished.stderr


def test_leases_name_the_games_and_where_they_go() -> None:
    for other in ("--games", "--first-game", "--data", "--json", "--trace", "--tgn"):
        finished = run(*ROLLOUTS, "--leases", other, 4)
        assert finished.returncode == 2
        assert "--leases" in finished.stderr


def test_one_number_is_of_no_use_where_no_games_are_numbered() -> None:
    for other in (("--benchmark",), ("--tactics", TACTICS), ("--play",)):
        finished = run(*ROLLOUTS, *other, "--first-game", 4)
        assert finished.returncode == 2
        assert "--first-game" in finished.stderr


def test_the_seed_decides() -> None:
    found = [figures(*ROLLOUTS, "--seed", seed)["visit_hash"] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_what_is_written(tmp_path: Path) -> None:
    found = figures(
        *ROLLOUTS,
        *("--games", 3, "--threads", 2, "--tgn", tmp_path / "games"),
        *("--data", tmp_path / "data.jsonl", "--trace", tmp_path / "trace.jsonl"),
    )
    games = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    searches = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    texts = [path.read_text() for path in sorted((tmp_path / "games").iterdir())]
    assert len(games) == len(texts) == 3
    assert sum(len(game["moves"]) for game in games) == len(searches) == found["moves"]
    for game, text in zip(games, texts, strict=True):
        assert set(game) == {"board", "moves", "score", "searches", "seed"}
        words = [word for word in text.split()[2:] if not word.endswith(".")]
        assert words[: len(game["moves"])] == game["moves"]
        assert int(words[-1]) == game["score"]
    assert [search["ply"] for search in searches if search["game"] == 1] == list(
        range(len(games[1]["moves"]))
    )


def test_a_match(tmp_path: Path) -> None:
    found = figures(*ROLLOUTS, "--against", "random", "--games", 20, "--tgn", tmp_path)
    assert (found["player"], found["against"]) == ("rollouts:30", "random")
    assert found["games"] == found["wins"] + found["losses"] + found["ties"] == 20
    assert found["wins"] >= 15
    assert len(list(tmp_path.glob("game-*.tgn"))) == 20


def test_models_against_each_other() -> None:
    found = figures(
        *TINY,
        *SHORT,
        "--against",
        "model:2",
        "--against-model",
        MODELS / "value-head",
        "--games",
        2,
    )
    assert (found["player"], found["against"]) == ("model:4", "model:2")


def test_tactics() -> None:
    found = figures("--tactics", TACTICS, "--player", "rollouts:2000")
    assert (found["found"], found["of"]) == (10, 10)
    assert all(0.3 < tactic["share"] <= 1 for tactic in found["tactics"])


def test_the_benchmark_has_a_row_for_each_number_of_games() -> None:
    finished = run(*TINY, *SHORT, "--benchmark", "--threads", 3)
    assert finished.returncode == 0, finished.stderr
    rows = [line.split("|")[1].strip() for line in finished.stdout.splitlines()]
    assert rows[0] == "Games at once"
    assert rows[2:] == ["1", "2", "3"]


def test_a_person_plays() -> None:
    finished = run(*ROLLOUTS, "--play", text="00\naa\nquit\n")
    assert finished.returncode == 0, finished.stderr
    assert "White (O) plays " in finished.stdout
    assert "0  . (X) . " in finished.stdout


def test_help() -> None:
    finished = run("--help")
    assert finished.returncode == 0
    for option in ("--model", "--board", "--cache", "--in-flight", "--trace", "Exit status:"):
        assert option in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the player model:50 needs a model; name its directory with --model"),
        (("--model", "/missing"), "/missing does not exist"),
        (("--model", MODELS / "plain"), "the game's text is 128"),
        (("--player", "nobody"), '"nobody" is no player'),
        (("--player", "random", "--board", "20x3"), "an axis has 20 points"),
        (("--player", "random", "--board", "5"), '"5" is no board'),
        (("--player", "random", "--games", "0"), "--games"),
        (("--player", "random", "--threads", "2", "--in-flight", "2"), "--in-flight"),
        (("--player", "random", "--play", "--benchmark"), "--benchmark"),
        (("--player", "random", "--against", "model"), "the player model:50 needs a model"),
        (("--nonsense",), "--nonsense"),
        (("--player", "random", "--tactics", "/missing"), "cannot read the file /missing"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line(arguments: tuple, message: str) -> None:
    finished = run(*arguments)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


def test_a_file_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    for option in ("--json", "--data", "--trace", "--tgn"):
        (tmp_path / "file").touch()
        finished = run(*ROLLOUTS, "--games", 1000, option, tmp_path / "file" / "below")
        assert finished.returncode == 1, option
        assert str(tmp_path) in finished.stderr


def test_a_game_that_outgrows_the_model_says_so() -> None:
    finished = run("--model", MODELS / "value-head", "--board", "5x5")
    assert finished.returncode == 2
    assert "the model's 64 positions" in finished.stderr


@pytest.mark.usefixtures("heeded_signals")
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["--games", "100000", "--threads", "2", "--data", tmp_path / "data.jsonl"]
    with subprocess.Popen(
        [PROGRAM, *map(str, ROLLOUTS), *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == "error: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_twenty_games_are_the_same_without_a_cache(tmp_path: Path) -> None:
    """600 searches of 50 simulations on 5×5, and some in three dimensions, bit for bit."""
    export = [sys.executable, ROOT / "export_trigo_kvcache.py", "--random-init", "trigo-64"]
    subprocess.run([*export, "--output-dir", tmp_path / "model"], check=True, capture_output=True)
    for board, games in (("5x5x1", 20), ("3x3x3", 4)):
        found = []
        for cache in ("on", "off"):
            data = tmp_path / f"{board}-{cache}.jsonl"
            found.append(
                figures(
                    *("--model", tmp_path / "model", "--board", board, "--games", games),
                    *("--max-moves", 30, "--threads", 2, "--cache", cache, "--data", data),
                )
            )
            assert found[-1]["searches"] >= 20 * games
            found[-1]["data"] = data.read_text()
        assert found[0]["visit_hash"] == found[1]["visit_hash"]
        assert found[0]["data"] == found[1]["data"]
