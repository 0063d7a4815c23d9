"""A model's files may change at any moment: the result is right, or an error says why not."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

from programs import Program

TRIALS = 40 * int(os.environ.get("KVCACHE_TEST_SCALE", "1"))
TOKENS = 200


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def overwrite(path: Path, chance: random.Random) -> None:
    """In place, as cp does."""
    path.write_bytes(chance.randbytes(path.stat().st_size))


def replace_part(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size))
        file.write(chance.randbytes(64))


def replace(path: Path, chance: random.Random) -> None:
    """By another file of its name, as the exporter does."""
    other = path.with_suffix(".other")
    other.write_bytes(chance.randbytes(path.stat().st_size))
    other.rename(path)


def test_changes_at_random_moments(
    kvcache: Program, kvcache_path: Path, model: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("KVCACHE_TEST_SEED", random.randrange(1 << 32)))
    print(f"KVCACHE_TEST_SEED={seed}")
    chance = random.Random(seed)
    generate = ["--ids", "1", "--window", "20", "--max-new-tokens", str(TOKENS)]
    started = time.monotonic()
    expected = kvcache("generate", model, *generate).stdout
    undisturbed = time.monotonic() - started
    files = sorted(path.name for path in model.iterdir())
    outcomes = {"right": 0, "refused": 0}
    during = 0  # changes that came before the program's end
    for trial in range(TRIALS):
        copy = tmp_path / str(trial)
        shutil.copytree(model, copy)
        options = [
            "--weight-memory",
            chance.choice(["huge-pages", "mapped", "copied"]),
            "--runs-before-move",
            str(chance.choice([0, 1, 20, 1000])),
        ]
        change = chance.choice([truncate, overwrite, replace_part, replace])
        name = chance.choice(files)
        delay = chance.uniform(0, undisturbed)
        with subprocess.Popen(
            [kvcache_path, "generate", copy, *generate, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            time.sleep(delay)
            during += process.poll() is None
            change(copy / name, chance)
            output, errors = process.communicate(timeout=60)
        what = f"trial {trial}: {change.__name__} {name} after {delay:.3f} s with {options}"
        assert process.returncode in (0, 2), f"{what}: {process.returncode} {errors}"
        if process.returncode == 0:
            assert output == expected, what
            outcomes["right"] += 1
        else:
            assert errors.startswith("error: "), what
            assert not output, what
            outcomes["refused"] += 1
        shutil.rmtree(copy)
    print(outcomes, during)
    assert during > 0, "all changes came too late"
