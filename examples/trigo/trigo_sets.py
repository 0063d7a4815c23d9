"""Recorded games of one board as tensors on the device that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import trigo_text as text
from trigo_games import DataError, RecordedGame, lines_of, read_lines
from trigo_replay import NO_MOVE, replay

NO_SEARCH = -1
AT_ONCE, LINES = 4096, 1024  # games replayed side by side; lines that a process reads at once


@dataclass(frozen=True)
class Moves:
    """Games of one board as arrays; a move is its place among point_names, a pass their number."""

    board: text.Board
    moves: np.ndarray  # int8 [games, most moves], NO_MOVE behind the end
    outcomes: np.ndarray  # float32 [games]
    searches: np.ndarray  # int32 [games, most moves]: rows of what follows, or NO_SEARCH
    shares: np.ndarray  # float16 [searches, points + 1]: of the visits
    values: np.ndarray  # float32 [searches]

    def of(self, which: np.ndarray) -> Moves:
        """Those of them, with their searches alone."""
        searches = self.searches[which]
        there = searches != NO_SEARCH
        rows = searches[there]
        searches[there] = np.arange(len(rows))
        shares, values = self.shares[rows], self.values[rows]
        return Moves(self.board, self.moves[which], self.outcomes[which], searches, shares, values)


def arrays_of(board: text.Board, games: Sequence[RecordedGame]) -> Moves:
    names = [*text.point_names(board), text.PASS]
    places = {name: place for place, name in enumerate(names)}
    most = max((len(game.moves) for game in games), default=0)
    moves = np.full((len(games), most), NO_MOVE, np.int8)
    at = np.full((len(games), most), NO_SEARCH, np.int32)
    shares = np.zeros((sum(len(game.searches) for game in games), len(names)), np.float32)
    values = np.zeros(len(shares), np.float32)
    row = 0
    for number, game in enumerate(games):
        moves[number, : len(game.moves)] = [places[move] for move in game.moves]
        for search in game.searches:
            if search.ply < len(game.moves):
                at[number, search.ply] = row
            shares[row, [places[move] for move in search.moves]] = search.visits
            values[row] = search.value
            row += 1
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    outcomes = np.array([game.outcome for game in games], np.float32)
    return Moves(board, moves, outcomes, at, shares.astype(np.float16), values)


def joined(parts: Sequence[Moves]) -> Moves:
    most = max(part.moves.shape[1] for part in parts)

    def wide(array: np.ndarray, filler: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, most - array.shape[1])), constant_values=filler)

    first = np.cumsum([0, *(len(part.shares) for part in parts)])
    rows = [
        np.where(part.searches == NO_SEARCH, NO_SEARCH, part.searches + at)
        for part, at in zip(parts, first[:-1], strict=True)
    ]
    return Moves(
        parts[0].board,
        np.concatenate([wide(part.moves, NO_MOVE) for part in parts]),
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([wide(row, NO_SEARCH) for row in rows]).astype(np.int32),
        np.concatenate([part.shares for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def _read(part: tuple[str, int, list[str]]) -> list[Moves]:
    of_boards: dict[text.Board, list[RecordedGame]] = {}
    for game in read_lines(*part):
        of_boards.setdefault(game.board, []).append(game)
    return [arrays_of(board, games) for board, games in of_boards.items()]


def read_sets(paths: Sequence[Path], workers: int) -> list[Moves]:
    """The files' games, a set for each board; read by that many processes where it is not 0."""
    parts = []
    for path in paths:
        lines = lines_of(path)
        for at in range(0, len(lines), LINES):
            parts.append((str(path), at, lines[at : at + LINES]))
    if workers > 0:
        with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
            found = list(pool.map(_read, parts))
    else:
        found = [_read(part) for part in parts]
    of_boards: dict[text.Board, list[Moves]] = {}
    for part in chain.from_iterable(found):
        of_boards.setdefault(part.board, []).append(part)
    if not of_boards:
        raise DataError(f"there is no game in {', '.join(map(str, paths))}")
    return [joined(of_boards[board]) for board in sorted(of_boards)]


class GameSet:
    """Games of one board on a device, and tables of its text."""

    def __init__(self, games: Moves, outcome_share: float, device: torch.device) -> None:
        self.board, self.device = games.board, device
        names = [*text.point_names(self.board), text.PASS]
        self.points, self.axes = len(names) - 1, len(names[0])
        self.counts = (games.moves != NO_MOVE).sum(1)  # moves of each game
        self.passes = games.moves == self.points
        self.moves = torch.from_numpy(games.moves).to(device)
        self.searches = torch.from_numpy(games.searches).to(device)
        empty = np.zeros((1, len(names)), np.float16)  # of NO_SEARCH, the last row
        self.shares = torch.from_numpy(np.concatenate([games.shares, empty])).to(device)
        self.values = torch.from_numpy(_targets(games, outcome_share)).to(device)
        parts = [
            replay(self.board, self.moves[at : at + AT_ONCE])
            for at in range(0, len(self.moves), AT_ONCE)
        ]
        self.states = torch.cat(parts)  # int8 [games, moves + 1, 3, points]
        self._tables(names)
        lengths = self.lengths.cpu().numpy()
        plies = np.arange(games.moves.shape[1])[None]
        sizes = np.where(games.moves == NO_MOVE, 0, lengths[plies, np.maximum(games.moves, 0)])
        self.sizes = self.start + sizes.sum(1)  # of each text, its START counted

    def __len__(self) -> int:
        return len(self.moves)

    def _tables(self, names: list[str]) -> None:
        device, plies = self.device, self.moves.shape[1]
        header = [text.START, *text.tokens(text.header(self.board))]
        self.header, self.start = torch.tensor(header, device=device), len(header)
        written = [
            [text.number(ply) + name + text.separator(ply) for name in names]
            for ply in range(plies)
        ]
        widest = max(len(piece) for row in written for piece in row)
        tokens = [
            [[*text.tokens(piece), *[0] * (widest - len(piece))] for piece in row]
            for row in written
        ]
        self.pieces = torch.tensor(tokens, dtype=torch.uint8, device=device)
        self.lengths = torch.tensor(
            [[len(piece) for piece in row] for row in written], device=device
        )
        self.numbers = torch.tensor([len(text.number(ply)) for ply in range(plies)], device=device)
        places = {name: place for place, name in enumerate(names)}
        images = [[places[image[name]] for name in names] for image in text.symmetries(self.board)]
        self.images = torch.tensor(images, device=device)
        self.inverse = self.images.argsort(1)
        # The characters of a move as long as a point's name is; "Pass" goes on in one way only.
        self.characters = torch.tensor(
            [text.tokens(name[: self.axes]) for name in names], device=device
        )
        self.alike = torch.stack(
            [
                torch.tensor(
                    [[a[:depth] == b[:depth] for b in names] for a in names], device=device
                )
                for depth in range(self.axes)
            ]
        )
        self.one_hot = torch.nn.functional.one_hot(self.characters, text.VOCABULARY).float()


def _targets(games: Moves, outcome_share: float) -> np.ndarray:
    """Of each position [games, moves + 1]: `outcome_share` of the outcome, and the rest of what the
    next search found, from there or from a later position; where none follows, the outcome.
    """
    found = np.empty((len(games.moves), games.moves.shape[1] + 1), np.float32)
    later = games.outcomes.copy()
    found[:, -1] = later
    for ply in reversed(range(games.moves.shape[1])):
        rows = games.searches[:, ply]
        later = np.where(
            rows == NO_SEARCH, later, games.values[rows] if len(games.values) else later
        )
        found[:, ply] = later
    return outcome_share * games.outcomes[:, None] + (1 - outcome_share) * found
