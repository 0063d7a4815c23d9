"""The plots of docs/KVCACHE_BENCHMARK.md, as SVG that is the same for the same measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DTYPES = ("float16", "float32", "bfloat16")


def write(folder: Path, gpu: dict[str, Any], cpu_speedup: Mapping[int, float]) -> None:
    """Writes decode.svg, speedup.svg and batch.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "kvcache"  # the same identifiers every time

    def decode(axes: Axes) -> None:
        for dtype in DTYPES:
            rows = [row for row in gpu["decode"] if row["dtype"] == dtype]
            middle = [row["ms"]["median"] for row in rows]
            axes.errorbar(
                [row["depth"] for row in rows],
                middle,
                yerr=[
                    [row["ms"]["median"] - row["ms"]["p10"] for row in rows],
                    [row["ms"]["p90"] - row["ms"]["median"] for row in rows],
                ],
                marker="o",
                label=dtype,
            )
        axes.set(xlabel="depth (tokens cached)", ylabel="ms a token")
        axes.set_ylim(bottom=0)

    def speedup(axes: Axes) -> None:
        for dtype in DTYPES:
            rows = [row for row in gpu["speedup"] if row["dtype"] == dtype]
            axes.plot(
                [row["new_tokens"] for row in rows],
                [row["uncached_ms"] / row["cached_ms"] for row in rows],
                marker="o",
                label=f"GPU, {dtype}",
            )
        axes.plot(list(cpu_speedup), list(cpu_speedup.values()), marker="s", label="CPU, float32")
        axes.axhline(10, color="gray", linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="new tokens", ylabel="speedup over recomputing")

    def batch(axes: Axes) -> None:
        for dtype in DTYPES:
            rows = [row for row in gpu["batch"] if row["dtype"] == dtype]
            axes.plot(
                [row["rows"] for row in rows],
                [row["tokens_per_s"] for row in rows],
                marker="o",
                label=dtype,
            )
        axes.set_xscale("log", base=2)
        axes.set(xlabel="rows decoded together", ylabel="tokens per second")

    for name, draw in (("decode", decode), ("speedup", speedup), ("batch", batch)):
        _save(folder / f"{name}.svg", draw)


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
