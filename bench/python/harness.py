"""lm-evaluation-harness on kvcache and on Hugging Face's transformers: equal scores, and times.

Needs lm_eval 0.4.13, torch, transformers and what reads the checkpoint, in an environment of their
own, beside the package kvcache:

    python bench/python/harness.py MODEL_DIR CHECKPOINT     a directory, or a GGUF file of float32
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TASK = ROOT / "tests" / "python" / "bindings" / "harness_task"
NAME = "kvcache_facts"
TOLERANCE = 1e-4  # of a log-likelihood


def evaluate(model: Any, shots: int) -> tuple[dict[str, Any], float]:
    """The harness's results on our task, and the seconds that its requests took."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as folder:
        task = (TASK / f"{NAME}.yaml").read_text().replace("FOLDER", str(TASK))
        task += "fewshot_split: test\n" if shots else ""
        (Path(folder) / f"{NAME}.yaml").write_text(task)
        took = 0.0
        scores = model.loglikelihood

        def timed(*arguments: Any, **named: Any) -> Any:
            nonlocal took
            began = time.perf_counter()
            found = scores(*arguments, **named)
            took += time.perf_counter() - began
            return found

        model.loglikelihood = timed
        results = lm_eval.simple_evaluate(
            model,
            tasks=[NAME],
            num_fewshot=shots,
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
        )
        model.loglikelihood = scores
    return results, took


def scores_of(results: dict[str, Any]) -> list[tuple[float, bool]]:
    samples = sorted(results["samples"][NAME], key=lambda sample: sample["doc_id"])
    return [
        (float(of[0]), str(of[1]) == "True")
        for sample in samples
        for of in sample["filtered_resps"]
    ]


def hugging_face(checkpoint: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    where = {"pretrained": str(checkpoint)}
    if checkpoint.suffix == ".gguf":
        where = {"pretrained": str(checkpoint.parent), "gguf_file": checkpoint.name}
    return HFLM(**where, dtype="float32", device="cpu", batch_size=16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--shots", type=int, default=4, help="examples before each question")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    from kvcache.lm_eval_adapter import KvcacheLM

    ours, seconds = evaluate(KvcacheLM(arguments.model_dir), arguments.shots)
    theirs, their_seconds = evaluate(hugging_face(arguments.checkpoint), arguments.shots)
    pairs = list(zip(scores_of(ours), scores_of(theirs), strict=True))
    figures = {
        "requests": len(pairs),
        "largest difference": max(abs(a[0] - b[0]) for a, b in pairs),
        "greedy flags that differ": sum(a[1] != b[1] for a, b in pairs),
        "accuracy": [of["results"][NAME]["acc,none"] for of in (ours, theirs)],
        "seconds": [seconds, their_seconds],
        "times as fast": their_seconds / seconds,
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    agree = figures["largest difference"] <= TOLERANCE and not figures["greedy flags that differ"]
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
