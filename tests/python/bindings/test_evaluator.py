"""Requests of many threads and tasks, gathered into runs."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kvcache

LONG = 30.0  # seconds: that nothing should take


@pytest.fixture
def evaluator(model: kvcache.Model) -> Iterator[kvcache.Evaluator]:
    with kvcache.Evaluator(model) as evaluator:
        yield evaluator


@pytest.fixture
def patient(model: kvcache.Model) -> Iterator[kvcache.Evaluator]:
    """One whose requests wait a minute for company."""
    with kvcache.Evaluator(model, max_delay=60.0) as evaluator:
        yield evaluator


def alone(model: kvcache.Model, tokens: list[int]) -> np.ndarray:
    return model.new_sequence().extend(tokens).row()


def test_answers_are_those_of_direct_calls(
    evaluator: kvcache.Evaluator, model: kvcache.Model
) -> None:
    sequence = evaluator.new_sequence()
    answer = evaluator.answer(kvcache.ExtendRequest(sequence, [1, 2]))
    np.testing.assert_array_equal(answer.result.row(), alone(model, [1, 2]))
    assert (answer.version, answer.by) == (1, "run") and 0 <= answer.waited < LONG
    nodes = evaluator.answer(kvcache.EvaluateRequest(sequence, [5, 6], [-1, 0])).result
    np.testing.assert_array_equal(nodes.row(1), alone(model, [1, 2, 5, 6]))
    scores = evaluator.answer(kvcache.ScoreRequest(sequence, [[5], [5, 6]])).result
    expected = answer.result.log_probabilities([5])[0]
    assert scores.tokens(1)[0] == scores.total(0) == pytest.approx(expected, rel=1e-6)
    assert len(scores) == len(nodes) == nodes.rows == 2
    sequence.commit(nodes.tree, 1)
    assert sequence.tokens.tolist() == [1, 2, 5, 6]


def test_requests_of_one_sequence_run_in_order(
    evaluator: kvcache.Evaluator, model: kvcache.Model
) -> None:
    expected = alone(model, list(range(10)))
    for _ in range(50):
        sequence = evaluator.new_sequence()
        requests = [
            evaluator.submit(kvcache.ExtendRequest(sequence, [token], at_length=token))
            for token in range(10)
        ]
        np.testing.assert_array_equal(requests[-1].result().result.row(), expected)
        # Those before it are answered, though nobody asked them: the sequence is free.
        assert sequence.length == 10


def test_a_sequence_is_in_use_until_it_is_answered(patient: kvcache.Evaluator, fails) -> None:
    sequence = patient.new_sequence()
    request = patient.submit(kvcache.ExtendRequest(sequence, [1]))
    assert not request.done()
    for call in (lambda: sequence.extend([1]), lambda: sequence.length, sequence.close):
        assert "a request of an Evaluator that is not answered" in str(
            fails("invalid_argument", call)
        )
    with pytest.raises(TimeoutError, match="was not answered within"):
        request.result(timeout=0.01)
    assert request.cancel() and not request.cancel()
    fails("cancelled", request.result)
    assert sequence.length == 0  # at once: whoever cancelled knows
    question = patient.submit(kvcache.ScoreRequest(patient.new_sequence(), [[1]]))
    question.cancel()


def test_errors_are_the_requests_own(evaluator: kvcache.Evaluator, fails) -> None:
    sequence = evaluator.new_sequence()
    wrong = evaluator.submit(kvcache.ExtendRequest(sequence, [-1]))
    right = evaluator.submit(kvcache.ExtendRequest(sequence, [1]))
    fails("token_out_of_range", wrong.result)
    assert right.result(timeout=LONG).result.rows == 1
    fails("invalid_argument", evaluator.answer, kvcache.ExtendRequest(sequence, [1], at_length=9))
    fails("deadline_exceeded", evaluator.answer, kvcache.ExtendRequest(sequence, [1], timeout=0))
    fails("invalid_argument", kvcache.ExtendRequest, sequence, [1], timeout=-1)
    fails("invalid_argument", kvcache.ExtendRequest, sequence, [1], timeout=float("nan"))
    fails("invalid_argument", kvcache.ExtendRequest, sequence, [1], priority="urgent")
    fails("invalid_argument", kvcache.Evaluator, evaluator.model, max_rows=0)
    fails("invalid_argument", kvcache.Evaluator, evaluator.model, max_delay=-1.0)
    with pytest.raises(TypeError):
        evaluator.answer([1])  # type: ignore[call-overload]
    assert sequence.length == 1


def test_kept_answers(evaluator: kvcache.Evaluator) -> None:
    sequence = evaluator.new_sequence()
    evaluator.answer(kvcache.ExtendRequest(sequence, [1]))
    by = [
        evaluator.answer(kvcache.EvaluateRequest(sequence, [5], [-1], cache_key=(1 << 64) - 1))
        for _ in range(2)
    ]
    assert [answer.by for answer in by] == ["run", "result_cache"]
    assert by[0].result.tree is not None and by[1].result.tree is None
    assert evaluator.hits_of((1 << 64) - 1) == 1 and evaluator.hits_of(3) is None


def test_callbacks(evaluator: kvcache.Evaluator, unraisable) -> None:
    called = threading.Event()
    seen = []

    def raises(request: kvcache.Request) -> None:
        raise ZeroDivisionError

    def notes(request: kvcache.Request) -> None:
        seen.append((request, request.result().result.rows))
        called.set()

    request = evaluator.submit(kvcache.ExtendRequest(evaluator.new_sequence(), [1]))
    request.add_done_callback(raises)
    request.add_done_callback(notes)
    assert called.wait(LONG)
    request.add_done_callback(notes)  # at once
    assert seen == [(request, 1)] * 2
    assert [type(raised) for raised in unraisable] == [ZeroDivisionError]


def test_a_callback_that_ends_the_evaluator(model: kvcache.Model) -> None:
    """Its thread is the one that the end waits for."""
    evaluator = kvcache.Evaluator(model)
    called = threading.Event()
    request = evaluator.submit(kvcache.ExtendRequest(evaluator.new_sequence(), [1]))
    request.add_done_callback(lambda _: (evaluator.close(), called.set()))
    assert called.wait(LONG)


def test_awaited(evaluator: kvcache.Evaluator, model: kvcache.Model, fails) -> None:
    async def ask() -> list[np.ndarray]:
        requests = [
            evaluator.submit(kvcache.ExtendRequest(evaluator.new_sequence(), [token]))
            for token in range(20)
        ]
        wrong = evaluator.submit(kvcache.ExtendRequest(evaluator.new_sequence(), [-1]))
        rows = [answer.result.row() for answer in await asyncio.gather(*requests)]
        with pytest.raises(kvcache.Error, match="token 0 of the input is -1"):
            await wrong
        return rows

    for token, row in enumerate(asyncio.run(ask())):
        np.testing.assert_array_equal(row, alone(model, [token]))


def test_a_task_that_is_cancelled_cancels_its_request(patient: kvcache.Evaluator, fails) -> None:
    async def ask() -> kvcache.Request:
        request = patient.submit(kvcache.ExtendRequest(patient.new_sequence(), [1]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request, 0.01)
        return request

    fails("cancelled", asyncio.run(ask()).result)


def test_clients_in_threads(evaluator: kvcache.Evaluator, model: kvcache.Model) -> None:
    texts: dict[int, list[int]] = {}
    begin = threading.Barrier(16)  # else a fast machine plays one game after the other

    def play(seed: int) -> None:
        with evaluator.register_client() as client:
            begin.wait(LONG)
            sequence, token, text = evaluator.new_sequence(), seed, []
            for _ in range(30):
                answer = client.answer(kvcache.ExtendRequest(sequence, [token]))
                token = answer.result.argmax()
                text.append(token)
            texts[seed] = text

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(texts) == 16
    sequence, token = model.new_sequence(), 3
    for expected in texts[3]:
        token = sequence.extend([token]).argmax()
        assert token == expected
    metrics = evaluator.metrics()
    assert metrics.answered == 16 * 30 and metrics.rows_per_run.largest > 1
    text = kvcache.prometheus_text(metrics, {"model": "tiny"})
    assert 'kvcache_evaluator_answers_total{model="tiny"} 480' in text


def test_closed(model: kvcache.Model, fails) -> None:
    evaluator = kvcache.Evaluator(model, max_delay=60.0)
    client = evaluator.register_client()
    sequence = evaluator.new_sequence()
    waiting = evaluator.submit(kvcache.ExtendRequest(sequence, [1]))
    evaluator.close()
    evaluator.close()
    fails("cancelled", waiting.result)
    assert "the evaluator is closed" in str(
        fails("invalid_argument", evaluator.answer, kvcache.ExtendRequest(sequence, [1]))
    )
    fails("cancelled", client.answer, kvcache.ExtendRequest(sequence, [1]))
    client.close()
    fails("invalid_argument", client.idle)
    assert sequence.length == 0


def test_answers_outlive_their_evaluator(model: kvcache.Model) -> None:
    evaluator = kvcache.Evaluator(model)
    sequence = evaluator.new_sequence()
    request = evaluator.submit(kvcache.ExtendRequest(sequence, [1, 2]))
    row = request.result().result.row()
    del evaluator, sequence, request
    gc.collect()
    np.testing.assert_array_equal(row, alone(model, [1, 2]))


def test_another_model(evaluator: kvcache.Evaluator, model_dir: Path, value_model, fails) -> None:
    sequence = evaluator.new_sequence()
    evaluator.answer(kvcache.ExtendRequest(sequence, [1]))
    assert evaluator.swap_model(kvcache.Model.load(model_dir)) == 2
    assert evaluator.answer(kvcache.ExtendRequest(sequence, [2])).version == 1
    assert evaluator.answer(kvcache.ExtendRequest(sequence, [3], renew=True)).version == 2
    assert sequence.tokens.tolist() == [1, 2, 3]
    fails("invalid_argument", evaluator.swap_model, value_model)


@pytest.mark.parametrize("waits", ["pass", "evaluator.answer(kvcache.ExtendRequest(s, [1]))"])
def test_a_process_ends_with_evaluators_open(model_dir: Path, waits: str) -> None:
    program = f"""
import kvcache
model = kvcache.Model.load({str(model_dir)!r})
evaluator = kvcache.Evaluator(model, max_delay=0.05)
s = evaluator.new_sequence()
request = evaluator.submit(kvcache.ExtendRequest(s, [1]))
request.add_done_callback(lambda request: print("called", request.done()))
{waits}
"""
    path = {"PYTHONPATH": str(Path(kvcache.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LONG,
        env=path,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "called True\n", "")


def test_several_requests_of_one_thread(patient: kvcache.Evaluator, model: kvcache.Model) -> None:
    """Of any kinds, also of one sequence: as one after the other, in one run where they can be."""
    games = [patient.new_sequence() for _ in range(8)]
    with patient.register_client() as client:
        answers = client.answer_all(
            kvcache.ExtendRequest(game, [i]) for i, game in enumerate(games)
        )
        for i, answer in enumerate(answers):
            np.testing.assert_array_equal(answer.result.row(), alone(model, [i]))
        assert patient.metrics().rows_per_run.largest == 8
        mixed = client.answer_all(
            [
                kvcache.ScoreRequest(games[3], [[5]]),
                kvcache.ExtendRequest(games[3], [6], at_length=1),
                kvcache.ExtendRequest(games[3], [7], at_length=2),
                kvcache.EvaluateRequest(games[0], [4], [-1]),
            ]
        )
        assert mixed[0].result.total(0) == answers[3].result.log_probabilities([5])[0]
        np.testing.assert_array_equal(mixed[2].result.row(), alone(model, [3, 6, 7]))
        np.testing.assert_array_equal(mixed[3].result.row(0), alone(model, [0, 4]))
    assert patient.answer_all([]) == []
    assert games[3].length == 3  # nothing is left in use


def test_what_is_wrong_with_one_of_several_requests(evaluator: kvcache.Evaluator, fails) -> None:
    first, second = evaluator.new_sequence(), evaluator.new_sequence()

    def requests() -> list[kvcache.ExtendRequest]:
        return [kvcache.ExtendRequest(first, [1]), kvcache.ExtendRequest(second, [97])]

    answered, failed = evaluator.answer_all(requests(), return_exceptions=True)
    assert answered.version == 1 and isinstance(failed, kvcache.Error)
    assert failed.code == "token_out_of_range"
    fails("token_out_of_range", evaluator.answer_all, requests())
    assert (first.length, second.length) == (2, 0)
    generation = kvcache.generate(second, [1], max_new_tokens=3)
    fails("invalid_argument", evaluator.answer_all, requests())  # nothing is asked
    generation.close()
    assert first.length == 2
    with pytest.raises(
        TypeError, match="must be an ExtendRequest, EvaluateRequest or ScoreRequest"
    ):
        evaluator.answer_all([*requests(), 3])  # type: ignore[list-item]
    assert first.length == 2
    evaluator.close()
    fails("invalid_argument", evaluator.answer_all, [])
