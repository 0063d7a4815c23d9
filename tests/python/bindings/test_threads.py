"""Threads and signals: what several threads do to one object, and Ctrl-C while computing."""

from __future__ import annotations

import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

import kvcache
from kvcache_export.cli import ANY, main

POSITIONS = 4096


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> kvcache.Model:
    """One whose texts take long enough for something to happen meanwhile."""
    folder = tmp_path_factory.mktemp("long")
    config = {
        "model_type": "gpt2",
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 64,
        "vocab_size": 97,
        "n_positions": POSITIONS,
        "n_ctx": POSITIONS,
        "activation_function": "gelu_new",
    }
    (folder / "config.json").write_text(json.dumps(config))
    arguments = ["--random-init", str(folder / "config.json"), "--output-dir", str(folder / "out")]
    assert main(arguments, ANY) == 0
    return kvcache.Model.load(folder / "out")


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """A signal whose handler raises KeyboardInterrupt, as that of Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_one_sequence_in_many_threads(model: kvcache.Model) -> None:
    """Each call is made whole or refused; the tokens are those of the calls that were made."""
    sequence = model.new_sequence()
    made: list[int] = []
    refused: list[str] = []
    begin = threading.Barrier(4)

    def work(token: int) -> None:
        begin.wait()
        for _ in range(300):
            try:
                if sequence.fits(1):
                    sequence.extend([token])
                    made.append(token)
                else:
                    sequence.reset()
                    made.append(-1)
                sequence.fork().extend([token])
            except kvcache.Error as error:
                refused.append(error.code)

    threads = [threading.Thread(target=work, args=(token,)) for token in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made and set(refused) <= {"invalid_argument", "context_full"}
    tokens = sequence.tokens.tolist()
    sequence.rewind(0)
    if tokens:
        fresh = model.new_sequence().extend(tokens).row()
        np.testing.assert_array_equal(sequence.extend(tokens).row(), fresh)


def test_forks_in_many_threads_equal_each_alone(model: kvcache.Model) -> None:
    prefix = model.new_sequence()
    prefix.extend([1, 2, 3])
    expected = {t: prefix.fork().extend([t]).row().copy() for t in range(8)}
    wrong: list[int] = []

    def work(token: int) -> None:
        for _ in range(100):
            if not np.array_equal(prefix.fork().extend([token]).row(), expected[token]):
                wrong.append(token)

    threads = [threading.Thread(target=work, args=(token,)) for token in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_threads_go_on_while_one_computes(long_model: kvcache.Model) -> None:
    def counted() -> int:
        """How often this thread runs meanwhile."""
        sequence, done, times = long_model.new_sequence(), threading.Event(), 0

        def compute() -> None:
            sequence.extend(np.arange(POSITIONS - 1) % 97)
            done.set()

        thread = threading.Thread(target=compute)
        thread.start()
        while not done.is_set():
            times += 1
            time.sleep(0.0005)
        thread.join()
        return times

    # With the interpreter's lock held it is one or two, and so it is, now and then, where all cores
    # compute.
    assert max(counted() for _ in range(5)) > 5


def in_threads(*works: Callable[[], object], rounds: int) -> list[kvcache.Error]:
    """What is raised by calls that go on side by side."""
    raised: list[kvcache.Error] = []
    begin = threading.Barrier(len(works))

    def repeat(work: Callable[[], object]) -> None:
        begin.wait()
        for _ in range(rounds):
            try:
                work()
            except kvcache.Error as error:
                raised.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def closed_while_used(model: kvcache.Model) -> list[kvcache.Error]:
    """What calls raise of objects that another thread closes."""
    prefix = model.new_sequence()
    prefix.extend([1, 2])
    tree = prefix.evaluate([3], [-1])
    window = kvcache.WindowedSequence(model)
    evaluator = kvcache.Evaluator(model)
    client = evaluator.register_client()

    def request() -> kvcache.ExtendRequest:
        return kvcache.ExtendRequest(model.new_sequence(), [1])

    def close() -> None:
        for each in (tree, window, prefix, client, evaluator):
            each.close()

    return in_threads(
        lambda: prefix.fork().commit(tree, 0),
        lambda: repr((tree, tree.logits.rows)),
        lambda: window.extend([1]),
        lambda: prefix.fork().evaluate([4], [-1]),
        lambda: kvcache.generate(prefix.fork(), [1], max_new_tokens=2).result(),
        lambda: client.answer(request()),
        lambda: evaluator.submit(request()).result(),
        close,
        rounds=5,
    )


def test_what_is_closed_at_any_moment_of_another_call(model: kvcache.Model) -> None:
    for _ in range(100):
        errors = closed_while_used(model)
        assert {error.code for error in errors} <= {"invalid_argument", "cancelled"}
    errors.clear()
    gc.collect()
    assert model.cache_stats().blocks_in_use == 0


def test_tokens_that_change_while_they_are_read(model: kvcache.Model) -> None:
    tokens = list(range(30))

    def change() -> None:
        tokens.append(len(tokens) % 97)
        del tokens[20:]

    def read() -> None:
        with suppress(IndexError):  # the list became shorter
            model.new_sequence().extend(tokens)

    assert in_threads(change, change, read, read, rounds=300) == []


def test_one_stream_in_many_threads(letters: str) -> None:
    """All characters come, each once, whoever pushes."""
    stream = kvcache.Tokenizer.from_json(letters).new_text()
    parts: list[str] = []
    works = [lambda token=token: parts.append(stream.push(token)) for token in range(4)]
    assert in_threads(*works, rounds=500) == []
    assert sorted("".join(parts)) == sorted('!"#$' * 500)


@pytest.mark.parametrize(
    "generate",
    [
        lambda sequence: kvcache.generate(sequence, [1], max_new_tokens=POSITIONS - 8).result(),
        lambda sequence: kvcache.generate_samples(sequence, [1], 2, max_new_tokens=POSITIONS - 8),
    ],
    ids=["generate", "generate_samples"],
)
def test_interrupted_while_computing(
    long_model: kvcache.Model, generate: Callable[[kvcache.Sequence], object]
) -> None:
    """The sequence is as before, and nothing is left in use."""
    sequence = long_model.new_sequence()
    sequence.extend([7, 8])
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.05):
        generate(sequence)
    assert time.monotonic() - began < 2
    assert sequence.tokens.tolist() == [7, 8]
    assert long_model.cache_stats().blocks_in_use == 1


def test_interrupted_between_tokens(long_model: kvcache.Model) -> None:
    sequence = long_model.new_sequence()
    tokens = []
    generation = kvcache.generate(sequence, [1], max_new_tokens=POSITIONS - 8)
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.05):
        for new in generation:
            tokens.append(new.token)
    generation.close()
    assert 0 < len(tokens) < POSITIONS - 8
    length = sequence.length  # the token that was being drawn may be there or not
    assert len(tokens) <= length <= len(tokens) + 1
    assert generation.result().tokens[: len(tokens)] == tokens


def test_a_generation_has_one_reader(long_model: kvcache.Model, fails) -> None:
    generation = kvcache.generate(long_model.new_sequence(), [1], max_new_tokens=2000)
    thread = threading.Thread(target=generation.result)
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            next(generation, None)
        except kvcache.Error as error:
            assert "the generation is in use" in str(error)
            refused += 1
        time.sleep(0.001)
    thread.join()
    assert refused > 0
    assert len(generation.result().tokens) == 2000
