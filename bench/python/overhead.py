"""What Python costs: extend() of one token, and 16 threads through an Evaluator, against C++.

Both are the same work in one process, by turns, on two loads of one model. Build first:

    cmake -B build -DKVCACHE_BUILD_PYTHON=ON
    cmake --build build --target cpp_rounds kvcache_python
    .venv/bin/python bench/python/overhead.py MODEL_DIR
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OVERHEAD_LIMIT = 3.0  # µs a token
SHARE_LIMIT = 0.9  # of C++'s tokens a second, by 16 threads


def rounds_of(count: int, *ways: Callable[[], float]) -> list[list[float]]:
    """Figures of each way, alternating; the way that begins alternates too."""
    figures: list[list[float]] = [[] for _ in ways]
    for round_ in range(count + 1):
        order = list(enumerate(ways))
        for i, way in order if round_ % 2 else reversed(order):
            figure = way()
            if round_ > 0:  # the first warms up
                figures[i].append(figure)
    return figures


def summary(figures: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(figures, n=4)
    return {"median": median, "q1": low, "q3": high, "rounds": len(figures)}


def extend_overhead(model_dir: Path, count: int) -> dict[str, object]:
    """Microseconds a token, with one thread a run: what varies least."""
    import cpp_rounds

    import kvcache

    cpp = cpp_rounds.Rounds(model_dir, 1)
    model = kvcache.Model.load(model_dir, num_threads=1)
    tokens = model.info.max_seq_len - 2

    def python() -> float:
        sequence = model.new_sequence()
        token = sequence.extend([1]).argmax()
        began = time.perf_counter()
        for _ in range(tokens):
            token = sequence.extend([token]).argmax()
        return (time.perf_counter() - began) / tokens * 1e6

    in_cpp, in_python = rounds_of(count, lambda: cpp.extend(tokens) / tokens * 1e6, python)
    overhead = [python - cpp for cpp, python in zip(in_cpp, in_python, strict=True)]
    return {
        "C++, µs": summary(in_cpp),
        "Python, µs": summary(in_python),
        "overhead, µs": summary(overhead),
    }


def evaluator_share(
    model_dir: Path, count: int, clients: int, texts: int, threads: int
) -> dict[str, object]:
    """Tokens a second of `clients` texts at a time: in C++ a thread each, in Python so many.

    Where that is fewer, a thread asks for all of its texts' next tokens together.
    """
    import cpp_rounds

    import kvcache

    cpp = cpp_rounds.Rounds(model_dir, 0)
    model = kvcache.Model.load(model_dir)
    tokens = min(model.info.max_seq_len, 64)

    def python() -> float:
        with kvcache.Evaluator(model) as evaluator:

            def play() -> None:
                with evaluator.register_client() as client:
                    for _ in range(texts):
                        sequence, token = evaluator.new_sequence(), 1
                        for _ in range(tokens):
                            answer = client.answer(kvcache.ExtendRequest(sequence, [token]))
                            token = answer.result.argmax()

            def play_several() -> None:
                with evaluator.register_client() as client:
                    for _ in range(texts):
                        games = [evaluator.new_sequence() for _ in range(clients // threads)]
                        last = [1] * len(games)
                        for _ in range(tokens):
                            answers = client.answer_all(
                                kvcache.ExtendRequest(game, [token])
                                for game, token in zip(games, last, strict=True)
                            )
                            last = [answer.result.argmax() for answer in answers]

            began = time.perf_counter()
            work = play if threads == clients else play_several
            players = [threading.Thread(target=work) for _ in range(threads)]
            for player in players:
                player.start()
            for player in players:
                player.join()
            return clients * texts * tokens / (time.perf_counter() - began)

    in_cpp, in_python = rounds_of(
        count, lambda: clients * texts * tokens / cpp.evaluate(clients, texts, tokens), python
    )
    shares = [python / cpp for cpp, python in zip(in_cpp, in_python, strict=True)]
    return {
        "C++, tokens/s": summary(in_cpp),
        "Python, tokens/s": summary(in_python),
        "Python's share": summary(shares),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--mode", choices=["extend", "evaluator"], action="append")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--threads", type=int, help="of Python; one for each client unless given")
    parser.add_argument("--texts", type=int, default=4, help="of each client and round")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.build / "python"))
    import kvcache  # noqa: F401 - it loads ONNX Runtime, which cpp_rounds finds then

    modes = arguments.mode or ["extend", "evaluator"]
    figures: dict[str, dict[str, object]] = {}
    if "extend" in modes:
        figures["extend"] = extend_overhead(arguments.model_dir, arguments.rounds)
    if "evaluator" in modes:
        figures["evaluator"] = evaluator_share(
            arguments.model_dir,
            max(arguments.rounds // 5, 3),
            arguments.clients,
            arguments.texts,
            arguments.threads or arguments.clients,
        )
    for mode, lines in figures.items():
        for name, of in lines.items():
            assert isinstance(of, dict)
            quartiles = f"{of['q1']:.3f} to {of['q3']:.3f}"
            print(
                f"{mode:9}  {name:17} {of['median']:12.3f}  (half of {of['rounds']}: {quartiles})"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
