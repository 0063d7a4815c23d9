"""Trigo, once more: as plain as possible, from its rules, to compare the C++ program with.

A position is a dictionary of stones, and everything else is asked of it by flood filling.
"""

from __future__ import annotations

from collections.abc import Iterator

Point = tuple[int, int, int]
Board = tuple[int, int, int]

PASS = "Pass"
BLACK, WHITE, EMPTY = "X", "O", "."


def points(board: Board) -> list[Point]:
    """All of them, z fastest."""
    return [(x, y, z) for x in range(board[0]) for y in range(board[1]) for z in range(board[2])]


def character(index: int, size: int) -> str:
    """The middle is 0; before it a, b, … from the beginning, behind it z, y, … from the end."""
    middle = (size - 1) // 2
    if index == middle:
        return "0"
    return chr(ord("a") + index) if index < middle else chr(ord("z") - (size - 1 - index))


def name(point: Point, board: Board) -> str:
    """A character an axis, without the axes at the end that have one point."""
    axes = 3
    while axes > 1 and board[axes - 1] == 1:
        axes -= 1
    return "".join(character(point[i], board[i]) for i in range(axes))


class Game:
    """Black moves first. Moves are names of points, or PASS."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.by_name = {name(point, board): point for point in points(board)}
        assert len(self.by_name) == len(points(board))
        self.stones: dict[Point, str] = {}
        self.moves: list[str] = []
        self.captured: list[set[Point]] = []  # by each move

    def colour(self) -> str:
        return WHITE if len(self.moves) % 2 else BLACK

    def ended(self) -> bool:
        return self.moves[-2:] == [PASS, PASS]

    def neighbours(self, point: Point) -> Iterator[Point]:
        for axis in range(3):
            for step in (-1, 1):
                moved = list(point)
                moved[axis] += step
                if 0 <= moved[axis] < self.board[axis]:
                    yield (moved[0], moved[1], moved[2])

    def region(self, start: Point, stones: dict[Point, str]) -> tuple[set[Point], set[Point]]:
        """The points joined with `start` that are as it is, and those around them."""
        inside, around, waiting = {start}, set(), [start]
        while waiting:
            for point in self.neighbours(waiting.pop()):
                if point in inside:
                    continue
                if stones.get(point) == stones.get(start):
                    inside.add(point)
                    waiting.append(point)
                else:
                    around.add(point)
        return inside, around

    def has_liberty(self, start: Point, stones: dict[Point, str]) -> bool:
        return any(point not in stones for point in self.region(start, stones)[1])

    def after(self, point: Point) -> tuple[dict[Point, str], set[Point]] | None:
        """The stones after a stone on an empty point, and those captured; None for suicide."""
        stones = {**self.stones, point: self.colour()}
        captured: set[Point] = set()
        for other in self.neighbours(point):
            enemy = stones.get(other) not in (None, self.colour())
            if enemy and not self.has_liberty(other, stones):
                captured |= self.region(other, stones)[0]
        for other in captured:
            del stones[other]
        return (stones, captured) if self.has_liberty(point, stones) else None

    def is_legal(self, move: str) -> bool:
        if self.ended():
            return False
        if move == PASS:
            return True
        point = self.by_name.get(move)
        if point is None or point in self.stones:
            return False
        found = self.after(point)
        if found is None:
            return False
        before = self.captured[-1] if self.captured else set()
        takes_back_one = len(found[1]) == 1 and before == {point}
        return not takes_back_one

    def legal(self) -> list[str]:
        """By x, then y, then z, the pass last; none once the game has ended."""
        return [move for move in [*self.by_name, PASS] if self.is_legal(move)]

    def play(self, move: str) -> None:
        assert self.is_legal(move), (move, self.moves)
        taken: set[Point] = set()
        if move != PASS:
            found = self.after(self.by_name[move])
            assert found is not None
            self.stones, taken = found
        self.captured.append(taken)
        self.moves.append(move)

    def owners(self) -> str:
        """X, O or '.' (neutral) for each point."""
        found = ""
        for point in points(self.board):
            if point in self.stones:
                found += self.stones[point]
                continue
            colours = {self.stones[other] for other in self.region(point, self.stones)[1]}
            found += colours.pop() if len(colours) == 1 else EMPTY
        return found

    def score(self) -> int:
        """White's points less Black's."""
        return self.owners().count(WHITE) - self.owners().count(BLACK)

    def picture(self) -> str:
        return "".join(self.stones.get(point, EMPTY) for point in points(self.board))

    def text(self, *, finished: bool) -> str:
        """Its TGN; the score's line where it is finished."""
        x, y, z = self.board
        found = f"[Board {x}x{y}" + (f"x{z}" if z > 1 else "") + "]\n\n"
        for i, move in enumerate(self.moves):
            found += f"{i // 2 + 1}. {move} " if i % 2 == 0 else f"{move}\n"
        if not finished:
            return found
        if found.endswith(" "):
            found = found[:-1] + "\n"
        score = self.score()
        return found + f"; {score:+d}\n" if score else found + "; 0\n"


def read(text: str) -> tuple[Game, int | None]:
    """The game of a TGN, played anew, and its score where it has one."""
    header, _, rest = text.partition("]")
    sizes = [int(size) for size in header.removeprefix("[Board ").split("x")]
    game = Game((sizes[0], sizes[1], sizes[2] if len(sizes) > 2 else 1))
    body, semicolon, score = rest.partition(";")
    for word in body.split():
        if word[0].isdigit() and word.endswith("."):
            assert word == f"{len(game.moves) // 2 + 1}."
        else:
            game.play(word)
    return game, int(score) if semicolon else None


def count(game: Game, depth: int) -> int:
    """How many sequences of `depth` legal moves there are from here."""
    if depth == 0:
        return 1
    total = 0
    for move in game.legal():
        stones, captured = game.stones, list(game.captured)
        game.play(move)
        total += count(game, depth - 1)
        game.moves.pop()
        game.stones, game.captured = stones, captured
    return total
