"""The random weights of GPT-2 124M that the exporter gives kvcache, for the peers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

from kvcache_export.sources import Source, from_seed  # noqa: E402 (after the path)

ARCHITECTURE, SEED = "gpt2", 0


def source() -> Source:
    """The exporter's --random-init gpt2."""
    return from_seed(ARCHITECTURE, SEED)


def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 weight by Hugging Face's name; the head is tied to the embedding."""
    name = "wte.weight" if name == "lm_head.weight" else name
    return source().weights.read(f"transformer.{name}", shape).astype(np.float32)
