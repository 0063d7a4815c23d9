"""trace_viewer.html: it asks for nothing from outside, and what it computes is right."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import random_games

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "examples" / "trigo" / "trace_viewer.html").read_text(encoding="utf-8")
STUB = (Path(__file__).parent / "page_stub.js").read_text(encoding="utf-8")
PURE, OF_PAGE = re.findall(r"<script[^>]*>(.*?)</script>", PAGE, re.DOTALL)
PROGRAM = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_selfplay"
SEED = 17

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def test_nothing_is_asked_from_outside():
    addresses = re.findall(r"https?://[^\s\"'<>]*", PAGE)
    assert addresses == ["http://www.w3.org/2000/svg"]  # a name, not a place
    assert not re.search(r"\b(src|href|srcset|action)\s*=|url\(|@import|<link|<iframe|<img", PAGE)
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|import)\b\s*\(",
        PAGE,
    )
    assert "default-src 'none'" in PAGE
    assert "innerHTML" not in PAGE  # what a file says is text, never markup


def node(script: str, given: object = None, *arguments: str) -> Any:
    """What a script of functions and `given` prints as JSON."""
    whole = f'"use strict";\nconst given = {json.dumps(given)};\n{script}'
    result = subprocess.run(
        ["node", "-", *arguments], input=whole, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def search(**fields: object) -> dict[str, Any]:
    """A search of five nodes: two moves, one of them with two replies."""
    costs = {"tokens_computed": 4, "tokens_reused": 10, "blocks": [2, 1], "end": False}
    nodes = [
        {"parent": -1, "move": "", "visits": 9, "value": 0.1, "prior": 1.0, **costs},
        {"parent": 0, "move": "aa", "visits": 2, "value": -0.5, "prior": 0.7, **costs},
        {"parent": 0, "move": "00", "visits": 6, "value": 0.4, "prior": 0.3, **costs},
        {"parent": 2, "move": "Pass", "visits": 1, "value": 0.4, "prior": 0.5, **costs},
        {"parent": 2, "move": "zz", "visits": 1, "value": 0.4, "prior": 0.6, **costs},
    ]
    nodes[3] |= {"end": True, "blocks": [0, 0], "tokens_computed": 0, "tokens_reused": 0}
    found = {"game": 0, "ply": 2, "board": [3, 3, 1], "text": "[Board 3x3]\n\n1. a0 0a\n"}
    found |= {"simulations": 8, "ms": 1.5, "nodes": nodes, "chosen": "00"}
    return {**found, **fields}


@needs_node
def test_stones_are_those_of_the_rules():
    choice = random.Random(SEED)
    games = [random_games.random_game(choice, most=40) for _ in range(40)]
    given = [{"board": game.board, "text": game.text(finished=True)} for game in games]
    found = node(
        f"""{PURE}
        console.log(JSON.stringify(given.map(({{board, text}}) => ({{
          names: pointNames(board), moves: movesOf(text),
          stones: play(board, movesOf(text)).stones.join(""),
        }}))));""",
        given,
    )
    for game, answer in zip(games, found, strict=True):
        assert answer["names"] == list(game.by_name)
        assert answer["moves"] == game.moves
        assert answer["stones"] == game.picture()


@needs_node
def test_paths_places_and_sums():
    found = node(
        f"""{PURE}
        const children = childrenOf(given.nodes);
        const places = of => [...of.places].map(([index, at]) => [index, at.depth, at.row]);
        console.log(JSON.stringify({{
          children, path: pathTo(given.nodes, 4), moves: movesAt(given, 4), sums: sumsOf(given),
          all: places(layout(given.nodes, children, 0)),
          few: places(layout(given.nodes, children, 2)),
          last: [play(given.board, movesAt(given, 4)).last, play(given.board, ["Pass"]).last],
        }}));""",
        search(),
    )
    assert found["children"] == [[2, 1], [], [4, 3], [], []]
    assert found["path"] == [0, 2, 4]
    assert found["moves"] == ["a0", "0a", "00", "zz"]
    assert found["all"] == [[4, 2, 0], [3, 2, 1], [2, 1, 0.5], [1, 1, 2], [0, 0, 1.25]]
    assert found["few"] == [[2, 1, 0], [1, 1, 1], [0, 0, 0.5]]
    assert found["last"] == [8, -1]
    sums = {"nodes": 5, "visits": 9, "depth": 2, "ends": 1, "computed": 16, "reused": 40}
    assert found["sums"] == {**sums, "share": 40 / 56, "shared": 8, "own": 4}


def changed(at: int, **fields: object) -> dict[str, Any]:
    """The search with fields of one node changed."""
    found = search()
    found["nodes"][at] |= fields
    return found


@needs_node
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "JSON"),
        ("null", "it is no object"),
        ("[]", "board must be three numbers"),
        (json.dumps(search(board=[3, 3])), "board must be three numbers from 1 to 19"),
        (json.dumps(search(board=[3, 3, 0])), "board must be three numbers from 1 to 19"),
        (json.dumps(search(board=[10**9, 9, 9])), "board must be three numbers from 1 to 19"),
        (json.dumps(search(text=5)), "text is missing"),
        (json.dumps(search(text="[Board 3x3]\n\n1. ab")), "ab is no move on a board of 3 × 3 × 1"),
        (json.dumps(search(nodes=[])), "nodes are missing"),
        (json.dumps(changed(0, parent=0)), "the parent of node 0 must come before it"),
        (json.dumps(changed(2, parent=2)), "the parent of node 2 must come before it"),
        (json.dumps(changed(2, parent=-1)), "the parent of node 2 must come before it"),
        (json.dumps(changed(1, move="bb")), "bb is no move on a board of 3 × 3 × 1"),
        (json.dumps(changed(1, visits=-1)), "visits of node 1 must be a whole number"),
        (json.dumps(changed(1, value=None)), "value of node 1 must be a number"),
        (json.dumps(changed(1, blocks=[1])), "blocks of node 1 must be the numbers of shared"),
    ],
    ids=range(16),
)
def test_lines_that_are_no_search_are_told(line: str, problem: str):
    text = f"{json.dumps(search())}\n{line}\n\n{json.dumps(search(ply=4))}\n"
    found = node(f"{PURE}\nconsole.log(JSON.stringify(parseTrace(given)));", text)
    assert [each["ply"] for each in found["searches"]] == [2, 4]
    (told,) = found["problems"]
    assert told.startswith("Line 2: ")
    assert problem in told


@needs_node
@pytest.mark.parametrize("board", ["flat", "box"])
def test_the_page_shows_what_is_selected(board: str):
    """Its script in place of a page: keys move through the tree, and panels follow."""
    given = search() if board == "flat" else search(board=[3, 3, 2], text="[Board 3x3x2]\n\n")
    if board == "box":
        for each, name in zip(given["nodes"], ("", "aa0", "00z", "Pass", "zz0"), strict=True):
            each["move"] = name
        given["chosen"] = "00z"
    ids = re.findall(r'\bid="(\w+)"', PAGE)
    found = node(
        f"""{STUB}\n{PURE.replace('"use strict";', "")}\n{OF_PAGE.replace('"use strict";', "")}
        const shown = () => ({{node: byId.get("node").text, where: byId.get("where").text,
          stones: byId.get("layers").all("circle").map(each => each.attributes.class),
          layers: byId.get("layers").all("svg").map(each => each.attributes["aria-label"]),
          rows: byId.get("children").all("tr").length,
          drawn: byId.get("tree").all("g").filter(each => each.attributes["aria-label"]).length,
          active: byId.get("tree").attributes["aria-activedescendant"]}});
        const text = JSON.stringify(given) + "\\n{{\\n";
        const file = {{name: "t.jsonl", text: () => Promise.resolve(text)}};
        byId.get("file").listeners.change({{target: {{files: [file]}}}});
        setTimeout(() => {{
          const steps = [shown()];
          for (const key of "Right Down Up Right Home c x ]".split(" ")) {{
            press(key.length > 1 && key !== "Home" ? `Arrow${{key}}` : key);
            steps.push(shown());
          }}
          byId.get("least").value = "7";
          byId.get("least").listeners.input();
          steps.push(shown());
          console.log(JSON.stringify({{steps, problems: byId.get("problems").text,
            sums: byId.get("sums").text, options: byId.get("search").text}}));
        }}, 0);""",
        given,
        json.dumps(ids),
    )
    steps = found["steps"]
    assert [step["active"] for step in steps] == [
        f"node-{index}" for index in (0, 2, 1, 2, 4, 0, 2, 2, 2, 0)
    ]
    assert [step["drawn"] for step in steps] == [5] * 9 + [1]
    assert [step["rows"] for step in steps[:5]] == [3, 3, 1, 3, 1]
    assert found["problems"].startswith("Line 2: ")
    assert "16" in found["sums"]
    assert "40 (71.4 %)" in found["sums"]
    chosen = given["chosen"]
    assert found["options"] == f"game 0, ply 2: {chosen}"
    assert len(steps[0]["layers"]) == (1 if board == "flat" else 2)
    if board == "flat":
        assert steps[4]["layers"] == [".O. / XX. / ..O (X Black, O White)"]
        assert sorted(set(steps[4]["stones"])) == ["black", "mark", "white"]
        assert steps[0]["stones"].count("share") == 2
        assert "path 00 zz to move Black visits 1 value for White 0.400" in steps[4]["node"]
        assert steps[4]["where"] == "Position after 4 moves, the last one zz"
    else:
        assert steps[4]["layers"][0] == "layer 0: ... / ... / ..O (X Black, O White)"
        assert steps[4]["layers"][1] == "layer z: ... / .X. / ... (X Black, O White)"


@needs_node
@pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")
@pytest.mark.parametrize("board", ["5x5x1", "3x3x3"])
def test_traces_of_the_program_are_read(tmp_path: Path, board: str):
    trace = tmp_path / "trace.jsonl"
    arguments = ["--board", board, "--player", "rollouts", "--games", "1", "--simulations", "30"]
    arguments += ["--max-moves", "12", "--trace", str(trace)]
    subprocess.run([PROGRAM, *arguments], capture_output=True, check=True)
    found = node(
        f"""{PURE}
        const {{searches, problems}} = parseTrace(given);
        console.log(JSON.stringify({{problems, sums: searches.map(sumsOf)}}));""",
        trace.read_text(),
    )
    assert found["problems"] == []
    assert len(found["sums"]) == 12
    assert all(sums["visits"] > 30 for sums in found["sums"])
