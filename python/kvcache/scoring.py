"""How probable continuations are, many of them after contexts that begin alike."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Tokens
from itertools import takewhile

from ._native import Model, Sequence

MOST_NODES = 512  # of one run: what more cost is memory for logits

Request = tuple[Tokens[int], Tokens[int]]  # a context and a continuation
Score = tuple[float, bool]  # log p of the continuation, and whether it is the greedy one


def log_likelihoods(model: Model, requests: Tokens[Request]) -> list[Score]:
    """log p(continuation | context) of each request, and whether greedy decoding would give it.

    Requests are sorted by their contexts: what consecutive ones begin with is computed once, and
    the continuations of one context are a tree that is evaluated in one run. A text that is longer
    than the model's positions loses its beginning, as in lm-evaluation-harness.

    Args:
        requests: contexts and continuations, each of one token at least.

    Raises:
        ValueError: an empty context or continuation, or a continuation that leaves no position for
            a token before it, naming the request.
        Error: as Sequence.extend and Sequence.evaluate.
    """
    texts = [_fitting(model, i, *request) for i, request in enumerate(requests)]
    scores: dict[int, Score] = {}
    with model.new_sequence() as sequence:
        order = sorted(range(len(texts)), key=lambda i: texts[i])
        for context, group in _groups(texts, order):
            _move_to(sequence, context)
            for some in _runs(texts, group):
                scores.update(_score(sequence, {i: texts[i][1] for i in some}))
    return [scores[i] for i in range(len(texts))]


def _fitting(
    model: Model, i: int, context: Tokens[int], continuation: Tokens[int]
) -> tuple[list[int], list[int]]:
    if not len(context) or not len(continuation):
        raise ValueError(f"request {i} has no token as its context or as its continuation")
    positions = model.info.max_seq_len
    if len(continuation) > positions:
        raise ValueError(
            f"the continuation of request {i} has {len(continuation)} tokens, must be at most"
            f" {positions}, the model's positions"
        )
    most = positions + 1 - len(continuation)  # the last token is not computed
    return list(context)[-most:], list(continuation)


def _groups(
    texts: list[tuple[list[int], list[int]]], order: list[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Contexts, and the requests of each."""
    begin = 0
    while begin < len(order):
        context = texts[order[begin]][0]
        group = list(takewhile(lambda i: texts[i][0] == context, order[begin:]))  # noqa: B023
        yield context, group
        begin += len(group)


def _runs(texts: list[tuple[list[int], list[int]]], group: list[int]) -> Iterator[list[int]]:
    some: list[int] = []
    nodes = 0
    for i in group:
        if some and nodes + len(texts[i][1]) > MOST_NODES:
            yield some
            some, nodes = [], 0
        some.append(i)
        nodes += len(texts[i][1])
    yield some


def _move_to(sequence: Sequence, context: list[int]) -> None:
    """Make the sequence hold the context; what it has of it stays."""
    held = sequence.tokens.tolist()
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(held, context, strict=False))))
    if not sequence.can_rewind_to(common):
        common = 0
    sequence.rewind(common)
    if common < len(context):
        sequence.extend(context[common:])


def _score(sequence: Sequence, continuations: dict[int, list[int]]) -> dict[int, Score]:
    """Of one context, by one tree: a node for each different beginning, its last token left out."""
    tokens: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}  # of a node, by their token
    asked: dict[int, list[tuple[int, int]]] = {}  # of a node: who, and the token that follows
    for i, continuation in continuations.items():
        node = -1
        for place, token in enumerate(continuation):
            asked.setdefault(node, []).append((i, token))
            if place + 1 < len(continuation):
                if (node, token) not in children:
                    children[node, token] = len(tokens)
                    tokens.append(token)
                    parents.append(node)
                node = children[node, token]
    totals = dict.fromkeys(continuations, 0.0)
    greedy = dict.fromkeys(continuations, True)
    with sequence.evaluate(tokens, parents, nodes=list(asked)) as tree:
        rows = [row for row, followers in enumerate(asked.values()) for _ in followers]
        followers = [follower for of_node in asked.values() for follower in of_node]
        found = tree.logits.log_probabilities([token for _, token in followers], rows)
        best = [tree.logits.argmax(row) for row in range(len(asked))]
        for row, (i, token), log_probability in zip(rows, followers, found.tolist(), strict=True):
            totals[i] += log_probability
            greedy[i] &= token == best[row]
    return {i: (totals[i], greedy[i]) for i in continuations}
