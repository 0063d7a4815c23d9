"""A player and its programs: when they start, how they fail, that none is left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from self_play_ray.errors import BadPlayError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.order import Order
from self_play_ray.player import Player, PlayerOptions

ORDER = Order(games=100, player="rollouts")


def player(directory: Path, answer: str) -> Player:
    """A player whose program notes each start, and answers a lease by a line of shell."""
    program = directory / "made_up_selfplay"
    program.write_text(
        f"#!/bin/sh\necho start >> {directory}/starts\n"
        f"while read -r first count; do {answer}; done\n"
    )
    program.chmod(0o755)
    return Player(ORDER, PlayerOptions(str(program)), None)


GAMES = 'i=0; while [ $i -lt $count ]; do echo "{\\"seed\\": $((first + i))}"; i=$((i + 1)); done'


def starts(directory: Path) -> int:
    return len((directory / "starts").read_text().splitlines())


def test_one_program_plays_one_lease_after_the_other(tmp_path: Path) -> None:
    of = player(tmp_path, GAMES)
    assert of.play(Lease(0, 4, 2)) == [{"number": 4, "seed": 4}, {"number": 5, "seed": 5}]
    assert of.play(Lease(0, 9, 1)) == [{"number": 9, "seed": 9}]
    assert starts(tmp_path) == 1
    of.close()
    with pytest.raises(PlayError, match="closed"):
        of.play(Lease(0, 0, 1))


def test_each_thread_that_plays_has_one(tmp_path: Path) -> None:
    of = player(tmp_path, f"sleep 0.2; {GAMES}")
    threads = [threading.Thread(target=of.play, args=[Lease(0, n, 1)]) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert starts(tmp_path) == 3
    of.play(Lease(0, 7, 1))
    assert starts(tmp_path) == 3
    of.close()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ("echo {}; echo oh >&2; exit 3", PlayError, "ended with 3 after 1 of 2 games: oh"),
        (
            "echo no such board >&2; exit 2",
            BadPlayError,
            "ended with 2 after 0 of 2 games: no such",
        ),
        ("exit 0", PlayError, "ended with 0 after 0 of 2 games"),
        ("kill -9 $$", PlayError, "ended with -9"),
        ("echo {}; echo {", PlayError, "game 5 came as what is no JSON"),
    ],
)
def test_what_fails_is_told_and_not_asked_again(
    tmp_path: Path, answer: str, kind: type[PlayError], message: str
) -> None:
    of = player(tmp_path, f"if [ $first = 4 ]; then {answer}; else {GAMES}; fi")
    with pytest.raises(PlayError, match=message) as error:
        of.play(Lease(0, 4, 2))
    assert type(error.value) is kind
    assert of.play(Lease(0, 6, 1)) == [{"number": 6, "seed": 6}]  # by another program
    assert starts(tmp_path) == 2
    of.close()


def test_a_program_that_ends_at_once_is_told(tmp_path: Path) -> None:
    of = player(tmp_path, GAMES)
    (tmp_path / "made_up_selfplay").write_text("#!/bin/sh\necho no model >&2\nexit 2\n")
    with pytest.raises(BadPlayError, match="ended with 2 after 0 of 1 games: no model"):
        of.play(Lease(0, 0, 1))
    of.close()


def test_closing_ends_who_plays(tmp_path: Path) -> None:
    of = player(tmp_path, "exec sleep 600")
    failed: list[str] = []

    def play() -> None:
        try:
            of.play(Lease(0, 0, 1))
        except PlayError as error:
            failed.append(str(error))

    thread = threading.Thread(target=play)
    thread.start()
    while not (tmp_path / "starts").exists():
        assert thread.is_alive()
        time.sleep(0.01)
    of.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(failed) == 1
    assert "ended with -9" in failed[0]
