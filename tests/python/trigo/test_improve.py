"""improve.py: rounds of games, training and export, each done once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "examples" / "trigo" / "improve.py"
PROGRAM = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_selfplay"
BOARDS = ["2x2x1", "2x1x2"]
NETWORK = ["--layers", "1", "--heads", "2", "--hidden", "16", "--positions", "320"]

# In place of trigo_selfplay: notes its arguments, and writes made-up games and figures.
STAND_IN = """\
#!{python}
import json, random, sys
sys.path[:0] = {paths!r}
import made_up_searches
from pathlib import Path
words = sys.argv[1:]
given = dict(zip(words[::2], words[1::2], strict=True))
with open({log!r}, "a") as log:
    log.write(json.dumps(given) + "\\n")
if "--model" in given:
    assert (Path(given["--model"]) / "config.json").exists()
board = tuple(map(int, given["--board"].split("x")))
choice = random.Random(int(given["--seed"]))
if "--data" in given:
    games = int(given["--games"])
    found = [made_up_searches.made_up_game(choice, board, 6) for _ in range(games)]
    made_up_searches.write(Path(given["--data"]), found)
if "--json" in given:
    Path(given["--json"]).write_text(json.dumps({{"wins": 3, "losses": 1}}))
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture
def stand_in(tmp_path: Path) -> tuple[Path, Path]:
    """The program and the file in which it notes its arguments."""
    pytest.importorskip("torch", reason="torch is not installed")
    program, log = tmp_path / "selfplay", tmp_path / "log.jsonl"
    paths = [str(ROOT / "tests" / "python" / "trigo")]
    program.write_text(STAND_IN.format(python=sys.executable, paths=paths, log=str(log)))
    program.chmod(0o755)
    return program, log


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rounds(stand_in: tuple[Path, Path], tmp_path: Path):
    program, log = stand_in
    out = tmp_path / "out"
    arguments = ["--out", out, "--selfplay", program, "--threads", "1"]
    arguments += ["--boards", *BOARDS, "--openings", "1", "3", "--opening-games", "2"]
    arguments += ["--random-games", "5", "--wild-games", "4"]
    arguments += ["--first-games", "22", "--first-simulations", "9", "--games", "3"]
    arguments += ["--simulations", "4", "--max-moves", "6", "--window", "2", "--match", "4"]
    more = ["--", "--steps", "12", "--rate", "0.003", "--device", "cpu", *NETWORK]
    result = run(*arguments, "--rounds", "1", *more)
    assert result.returncode == 0, result.stderr
    played = lines(log)
    models = [str(out / f"round-{number}" / "model") for number in range(2)]

    def games_of(number: int) -> list[dict]:
        """What a round asks the program for."""
        data = {"--data": str(out / f"round-{number}" / "games.new")}
        more = {"--max-moves": "6", "--threads": "1", "--simulations": "9"}
        if number == 1:
            more |= {"--simulations": "4", "--player": "model", "--model": models[0]}
            kinds = [{"--games": "3", "--seed": "43"}]
        else:
            more["--player"] = "rollouts"
            wild = {"--temperature": "100", "--temperature-moves": "6"}
            both = {"--games": "2", "--against": "rollouts:9"}
            kinds = [
                {"--games": "22", "--seed": "42"},
                {**both, "--seed": "1042", "--opening": "1"},
                {**both, "--seed": "2042", "--opening": "3"},
                {"--games": "4", "--seed": "3042", **wild},
                {"--games": "5", "--seed": "4042", "--against": "random"},
            ]
        return [{**more, **kind, **data, "--board": board} for board in BOARDS for kind in kinds]

    def match_of(number: int) -> list[dict]:
        of = {"--max-moves": "6", "--threads": "1", "--games": "4", "--simulations": "4"}
        of |= {"--seed": "1000042", "--player": "model", "--against": "rollouts:4"}
        of |= {"--json": str(out / f"round-{number}" / "match.new"), "--model": models[number]}
        return [{**of, "--board": board} for board in BOARDS]

    assert played == [*games_of(0), *match_of(0), *games_of(1), *match_of(1)]
    learnt_from = lines(out / "round-0" / "games.jsonl")
    assert [game["board"] for game in learnt_from] == [[2, 2, 1]] * 35 + [[2, 1, 2]] * 35
    rounds = lines(out / "rounds.jsonl")
    assert [line["round"] for line in rounds] == [0, 1]
    assert rounds[0]["match"] == {board: {"wins": 3, "losses": 1} for board in BOARDS}
    assert 0 < rounds[1]["policy"] < rounds[0]["policy"]  # it goes on with the model before
    assert rounds[0]["held_back"]["2x2x1"]["policy"] > 0
    for number in range(2):
        config = json.loads((out / f"round-{number}" / "model" / "config.json").read_text())
        assert [output["name"] for output in config["outputs"]] == ["logits", "value"]

    # What is there is not done again.
    (out / "round-1" / "match.json").unlink()
    (out / "rounds.jsonl").write_text(json.dumps(rounds[0]) + "\n")
    result = run(*arguments, "--rounds", "1", *more)
    assert result.returncode == 0, result.stderr
    assert lines(log)[len(played) :] == match_of(1)
    assert [line["round"] for line in lines(out / "rounds.jsonl")] == [0, 1]


def test_a_program_that_fails_ends_the_rounds(stand_in: tuple[Path, Path], tmp_path: Path):
    program, _ = stand_in
    program.write_text("#!/bin/sh\nexit 3\n")
    result = run("--out", tmp_path / "out", "--selfplay", program)
    assert result.returncode == 1
    assert result.stderr == "error: selfplay ended with 3\n"
    assert not (tmp_path / "out" / "round-0" / "games.jsonl").exists()


def test_without_the_program(tmp_path: Path):
    result = run("--out", tmp_path / "out", "--selfplay", tmp_path / "nothing")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {tmp_path}/nothing does not exist; build it, or give --selfplay\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.full
@pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")
def test_with_the_program_itself(tmp_path: Path):
    pytest.importorskip("torch", reason="torch is not installed")
    arguments = ["--out", tmp_path / "out", "--selfplay", PROGRAM, "--boards", "3x3x1"]
    arguments += ["--rounds", "1", "--first-games", "40", "--first-simulations", "40"]
    arguments += ["--games", "10", "--simulations", "20", "--max-moves", "30", "--match", "2"]
    result = run(*arguments, "--threads", "1", "--", "--steps", "60", "--device", "cpu", *NETWORK)
    assert result.returncode == 0, result.stderr
    rounds = lines(tmp_path / "out" / "rounds.jsonl")
    assert rounds[1]["policy"] < rounds[0]["policy"]
    assert rounds[1]["match"]["3x3x1"]["games"] == 2
