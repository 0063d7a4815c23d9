"""Signals become one exception, at a moment when nothing is half done."""

from __future__ import annotations

import os
import signal

import pytest

from kvcache_export import signals

pytestmark = pytest.mark.usefixtures("heeded_signals")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_is_raised_once(number: signal.Signals):
    before = signal.getsignal(number)
    with signals.handled():
        with pytest.raises(signals.Ended) as end:
            send(number)
        assert end.value.number == number
        send(signal.SIGTERM)
        send(number)
    assert signal.getsignal(number) == before


def test_it_waits_for_the_end_of_what_is_deferred():
    done = []
    with signals.handled(), pytest.raises(signals.Ended), signals.deferred():
        with signals.deferred():
            send(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_python_dropped_is_raised_before_the_next_step():
    class Drops:
        def __del__(self) -> None:  # Python drops exceptions that are raised in here
            send(signal.SIGTERM)

    with signals.handled():
        Drops()
        with pytest.raises(signals.Ended), signals.deferred():
            pytest.fail("the step was begun")


def test_an_error_in_what_is_deferred_is_raised():
    with signals.handled(), pytest.raises(ZeroDivisionError), signals.deferred():
        send(signal.SIGTERM)
        raise ZeroDivisionError


def test_after_publishing_it_says_that_the_model_is_there(
    small_checkpoint, tmp_path, monkeypatch, capsys
):
    from kvcache_export import export
    from kvcache_export.cli import main

    publish = export.publish

    def interrupted(*arguments: object) -> None:
        send(signal.SIGTERM)
        publish(*arguments)

    monkeypatch.setattr(export, "publish", interrupted)
    assert main(["--model", str(small_checkpoint), "--output-dir", str(tmp_path)]) == 143
    assert (
        capsys.readouterr().err == f"error: ended by SIGTERM, but {tmp_path} holds the new model\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "gpt2_with_cache.onnx",
        "gpt2_with_cache.onnx.data",
    ]
