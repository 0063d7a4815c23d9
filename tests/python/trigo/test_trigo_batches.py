"""trigo_batches.py: each row of a batch sees the text that a search would give the model."""

from __future__ import annotations

import random

import made_up_searches
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import numpy as np  # noqa: E402
import trigo_batches  # noqa: E402
import trigo_network  # noqa: E402
import trigo_text  # noqa: E402
from trigo_batches import Batch  # noqa: E402
from trigo_games import RecordedGame, read_games  # noqa: E402
from trigo_replay import replay  # noqa: E402
from trigo_sets import GameSet, arrays_of  # noqa: E402

SEED = 13
SIZES = trigo_network.Sizes(2, 2, 16, 320, 12, 6)
BOARDS = [(5, 5, 1), (3, 3, 3), (2, 2, 2)]
SHARE = 0.25
CPU = torch.device("cpu")


def network() -> trigo_network.TrigoNetwork:
    """With weights large enough to matter."""
    torch.manual_seed(0)
    found = trigo_network.TrigoNetwork(SIZES).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return found


def games_of(tmp_path, board: trigo_text.Board, count: int = 4) -> list[RecordedGame]:
    """Of different lengths; every third search is missing, and one game has passes."""
    choice = random.Random(SEED)
    lines = [made_up_searches.made_up_game(choice, board, 5 + 3 * at) for at in range(count)]
    for line in lines:
        del line["searches"][::3]
    passes = {"board": list(board), "moves": ["Pass", "Pass"], "score": 0, "searches": []}
    return read_games([made_up_searches.write(tmp_path / "games.jsonl", [*lines, passes])])


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(games: GameSet, count: int, seed: int) -> list[dict[str, str]]:
    """The symmetries that a batch draws first of all."""
    drawn = torch.randint(len(games.images), (count,), generator=chance(seed))
    return [trigo_text.symmetries(games.board)[at] for at in drawn]


def text_of(board: trigo_text.Board, moves: list[str]) -> list[int]:
    return [trigo_text.START, *trigo_text.tokens(trigo_text.game_text(board, moves))]


def sequence_of(batch: Batch, game: int, row: int) -> list[int]:
    """The tokens that a row sees, itself last, in the order of their positions."""
    size, nodes = batch.tokens.shape[1], batch.seen.shape[2]
    text = size - nodes
    rows = range(row + 1) if row < text else batch.seen[game, 0, row - text].nonzero()[:, 0]
    of = sorted((int(batch.positions[game, at]), int(batch.tokens[game, at])) for at in rows)
    assert [position for position, _ in of] == list(range(len(of)))
    return [token for _, token in of]


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_values_stand_behind_the_text_of_their_position(tmp_path, board: trigo_text.Board):
    games = games_of(tmp_path, board)
    there = GameSet(arrays_of(board, games), SHARE, CPU)
    batch = trigo_batches.batch_of(there, np.arange(len(games)), chance(3))
    size, known = batch.tokens.shape[1], batch.value_known.view(len(games), -1)
    rows, targets = (part.view(len(games), -1) for part in (batch.value_rows, batch.value))
    for at, (game, image) in enumerate(zip(games, images_of(there, len(games), 3), strict=True)):
        moves = [image[move] for move in game.moves]
        assert known[at].tolist() == [1.0] * (len(moves) + 1) + [0.0] * (
            known.shape[1] - len(moves) - 1
        )
        values = {search.ply: search.value for search in game.searches}
        for ply in range(len(moves) + 1):
            expected = [*text_of(board, moves[:ply]), trigo_text.VALUE]
            assert sequence_of(batch, at, int(rows[at, ply]) - size * at) == expected
            # The next search's value, or the outcome where none follows.
            later = next(
                (values[to] for to in range(ply, len(moves)) if to in values), game.outcome
            )
            expected = SHARE * game.outcome + (1 - SHARE) * later
            assert float(targets[at, ply]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_the_policy_is_the_share_of_visits_of_each_next_character(
    tmp_path, board: trigo_text.Board
):
    games = games_of(tmp_path, board)
    there = GameSet(arrays_of(board, games), SHARE, CPU)
    batch = trigo_batches.batch_of(there, np.arange(len(games)), chance(5))
    size, axes = batch.tokens.shape[1], there.axes
    expected: dict[tuple[int, tuple[int, ...]], dict[int, float]] = {}
    roots, after_p = 0, set()
    for at, (game, image) in enumerate(zip(games, images_of(there, len(games), 5), strict=True)):
        moves = [image[move] for move in game.moves]
        for search in game.searches:
            number = trigo_text.tokens(trigo_text.number(search.ply))
            before = (*text_of(board, moves[: search.ply]), *number)
            for move, visits in zip(search.moves, search.visits, strict=True):
                name = trigo_text.tokens(image[move])
                for depth in range(axes):
                    shares = expected.setdefault((at, (*before, *name[:depth])), {})
                    shares[name[depth]] = shares.get(name[depth], 0) + visits
            roots += 1
        for ply, move in enumerate(game.moves):
            text = [*text_of(board, moves[:ply]), *trigo_text.tokens(trigo_text.number(ply))]
            if move == trigo_text.PASS:
                after_p |= {(at, (*text, *b"Pass"[:depth])) for depth in (1, 2, 3)}
    asked = {"root": 0, "chain": 0, "pass": 0}
    for row, target, weight in zip(batch.policy_rows, batch.policy, batch.chains, strict=True):
        if target.sum() == 0:
            continue  # behind a game's end, or without a search
        at = int(row) // size
        text = tuple(sequence_of(batch, at, int(row) % size))
        if float(weight) == 1 and (at, text) in after_p and int(target.argmax()) in b"as":
            asked["pass"] += 1
            assert float(target.max()) == 1
            continue
        shares = expected[at, text]
        total = sum(shares.values())
        assert {token: share for token, share in enumerate(target.tolist()) if share} == (
            pytest.approx({token: n / total for token, n in shares.items() if n}, abs=2e-3)
        )
        is_root = len(text) == len(text_of(board, [])) or text[-1] in b" \n"
        asked["root" if is_root else "chain"] += 1
    assert asked["root"] == int(batch.searches) == roots
    assert asked["pass"] == len(after_p)
    assert asked["chain"] > len(games)


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_points_are_taught_where_a_symmetry_has_them(tmp_path, board: trigo_text.Board):
    """As if the renamed game itself were replayed."""
    games = games_of(tmp_path, board)
    there = GameSet(arrays_of(board, games), SHARE, CPU)
    batch = trigo_batches.batch_of(there, np.arange(len(games)), chance(7))
    names = [*trigo_text.point_names(board), trigo_text.PASS]
    plies = there.moves.shape[1]
    values = batch.points[: len(games) * (plies + 1)].view(len(games), plies + 1, 3, -1)
    before = batch.points[len(games) * (plies + 1) :].view(len(games), plies, 3, -1)
    for at, (game, image) in enumerate(zip(games, images_of(there, len(games), 7), strict=True)):
        moves = torch.tensor([[names.index(image[move]) for move in game.moves]])
        renamed = replay(board, moves)[0]
        assert torch.equal(values[at, : len(game.moves) + 1], renamed)
        assert torch.equal(before[at, : len(game.moves)], renamed[:-1])


def test_a_network_computes_each_row_as_if_it_were_alone(tmp_path):
    of, board = network(), (3, 3, 3)
    there = GameSet(arrays_of(board, games_of(tmp_path, board)), SHARE, CPU)
    batch = trigo_batches.batch_of(there, np.arange(3), chance(11))
    size = batch.tokens.shape[1]
    with torch.no_grad():
        states = of.model(batch.tokens, batch.positions, batch.seen)
        rows = batch.policy_rows[batch.policy.sum(1) > 0]
        for row in [*rows, *batch.value_rows[batch.value_known > 0]]:
            at, place = divmod(int(row), size)
            logits, values = of.plain(torch.tensor([sequence_of(batch, at, place)]))
            found = states[at, place]
            torch.testing.assert_close(of.model.logits(found), logits[0, -1], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(of.value_head(found), values[0, -1], atol=1e-5, rtol=1e-5)


def test_boards_together_have_the_losses_of_each_alone(tmp_path):
    """Points that the smaller board lacks count nothing."""
    of = network()
    sets = [GameSet(arrays_of(board, games_of(tmp_path, board)), SHARE, CPU) for board in BOARDS]
    head = torch.nn.Linear(SIZES.hidden, 3 * 27 * 3)
    parts = [np.arange(4), np.arange(1, 3), np.arange(3)]
    with torch.no_grad():
        both = trigo_batches.losses(of, trigo_batches.together(sets, parts, chance(1)), head)
        drawn = chance(1)
        batches = [
            trigo_batches.batch_of(games, part, drawn)
            for games, part in zip(sets, parts, strict=True)
        ]
        alone = [trigo_batches.losses(of, batch, head) for batch in batches]
    positions = torch.stack([batch.points_known.sum() for batch in batches])
    counts = {
        "policy": torch.stack([batch.searches for batch in batches]),
        "value": torch.stack([batch.value_known.sum() for batch in batches]),
        **dict.fromkeys(("stones", "owners", "atari"), positions),
    }
    for name, count in counts.items():
        each = torch.stack([getattr(losses, name) for losses in alone])
        expected = float((each * count).sum() / count.sum())
        assert float(getattr(both, name)) == pytest.approx(expected, rel=1e-5), name


def test_a_policy_is_asked_for_in_proportion_where_not_all_positions_are(tmp_path):
    """Over many draws, the mean loss is that of every character of every search, and of what stands
    behind the P of a pass that was played."""
    of, board = network(), (2, 2, 2)
    games = games_of(tmp_path, board, 5)
    there = GameSet(arrays_of(board, games), SHARE, CPU)
    assert max(there.counts) > trigo_batches.ASKED
    total, searches = 0.0, 0
    with torch.no_grad():
        for game in games:
            for search in game.searches:
                record = text_of(board, list(game.moves[: search.ply]))
                record += trigo_text.tokens(trigo_text.number(search.ply))
                for move, visits in zip(search.moves, search.visits, strict=True):
                    name = trigo_text.tokens(move)[: there.axes]
                    rows = of.plain(torch.tensor([[*record, *name]]))[0][0].log_softmax(-1)
                    product = sum(rows[len(record) - 1 + i, t] for i, t in enumerate(name))
                    total -= float(product) * visits / sum(search.visits)
                searches += 1
            for ply, move in enumerate(game.moves):
                if move == trigo_text.PASS and len(game.searches):
                    record = text_of(board, list(game.moves[:ply]))
                    record += trigo_text.tokens(trigo_text.number(ply) + move)
                    rows = of.plain(torch.tensor([record]))[0][0].log_softmax(-1)
                    total -= sum(float(rows[i - 4, t]) for i, t in enumerate(b"ass"))
        head = torch.nn.Linear(SIZES.hidden, 3 * 8 * 3)
        which = np.arange(len(games) - 1)  # the last has no search
        found = [
            float(
                trigo_batches.losses(
                    of, trigo_batches.batch_of(there, which, chance(at), turned=False), head
                ).policy
            )
            for at in range(200)
        ]
    extra = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - total / searches) < 5 * extra + 1e-4
