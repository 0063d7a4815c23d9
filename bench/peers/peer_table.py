"""The table of cpu_peers.py: medians with their spread, and ratios to kvcache, of its raw figures.

python peer_table.py RESULTS.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

KVCACHE = "kvcache"
FIRST_TOKENS = (1, 16, 64)
MIB = 1 << 20
DECODE = "decode at {}, ms"
BAR_SHARE, BAR_BYTES = 1.1, 100_000_000  # of memory: of the files, and beside the cache
BEHIND_DECODE = (
    "of the roofline, {}",
    *("prefill of 512, ms", "16 rows, tokens/s", "peak memory, MiB", "load, ms"),
    *("tokens 1 / 16 / 64 since the start, ms", "top-1", "KL, nats", "greedy tokens"),
)
ROWS = 16
REFERENCE = "kvcache float32"  # of files that do not name it
GPT2 = "GPT-2 124M with the same random weights for all"  # of files without a model


class Results:
    """Raw figures of one run, and what is derived from them."""

    def __init__(self, raw: dict[str, Any]):
        self.raw = raw
        self.baselines = raw["baselines"]
        self.depths = raw.get("depths", [8, 512])

    def header(self) -> list[str]:
        at = " / ".join(map(str, self.depths))
        columns = [text.format(at) for text in BEHIND_DECODE]
        return ["width", "runtime", *(DECODE.format(depth) for depth in self.depths), *columns]

    def fastest_kvcache(self, width: str) -> dict[str, Any] | None:
        """Whom the others of a width are compared with: of the variants that have speeds, the one
        that decodes fastest."""
        own = [
            one
            for one in self.baselines
            if one["runtime"] == KVCACHE
            and one["width"] == width
            and one["runs"]
            and one["agreement"]["holds"]
        ]
        return min(own, key=lambda one: median(per_round(one, "decode_ms_8")), default=None)


def per_round(baseline: dict[str, Any], figure: str) -> list[float]:
    """One value a process: the median of its samples."""
    values = [run[figure] for run in baseline["runs"]]
    return [median(value) if isinstance(value, list) else value for value in values if value != []]


def ratios(baseline: dict[str, Any], own: dict[str, Any], figure: str) -> list[float]:
    """Round by round, theirs ÷ ours."""
    pairs = zip(per_round(baseline, figure), per_round(own, figure), strict=True)
    return [theirs / ours for theirs, ours in pairs]


def spread(values: list[float], digits: int) -> str:
    """ "18.80 (18.10 … 19.50)" """
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    low, high = min(values), max(values)
    return f"{median(values):,.{digits}f} ({low:,.{digits}f} … {high:,.{digits}f})"


def times(
    baseline: dict[str, Any], own: dict[str, Any] | None, figure: str, digits: int = 2
) -> str:
    values = per_round(baseline, figure)
    if not values:
        return "–"
    return spread(values, digits) + ahead(baseline, own, figure)


def ahead(baseline: dict[str, Any], own: dict[str, Any] | None, figure: str) -> str:
    """By how many times kvcache is faster."""
    if own is None or own is baseline:
        return ""
    return f" **{median(ratios(baseline, own, figure)):.2f}×**"


def multiple(baseline: dict[str, Any]) -> str:
    """ " (1.08×)": the peak of memory over files and cache; empty where either is not known."""
    if not {"model_bytes", "cache_bytes"} <= baseline.keys():
        return ""
    needed = baseline["model_bytes"] + baseline["cache_bytes"]
    return f" ({median(per_round(baseline, 'peak_bytes')) / needed:.2f}×)"


def memory_lines(results: Results) -> list[str]:
    """Of each of kvcache's: the peaks of export, load and decoding beside the bar of them."""
    lines = []
    for one in results.baselines:
        if one["runtime"] != KVCACHE or not one["runs"] or not multiple(one):
            continue
        files, cache = one["model_bytes"], one["cache_bytes"]
        bar = BAR_SHARE * files + cache + BAR_BYTES
        peaks = {"export": one.get("export_peak_bytes")}
        for what, figure in (("load", "loaded_bytes"), ("decoding", "peak_bytes")):
            peaks[what] = median(per_round(one, figure))
        shown = ", ".join(
            f"{what} {peak / MIB:,.0f} MiB ({peak / (files + cache):.2f}×,"
            f" {'within' if peak <= bar else 'above'} the bar)"
            for what, peak in peaks.items()
            if peak is not None
        )
        lines.append(
            f"Memory of kvcache {one['variant']}: files {files / MIB:,.0f} MiB, cache"
            f" {cache / MIB:,.0f} MiB; peak of {shown}."
        )
    return lines


def first_tokens(baseline: dict[str, Any]) -> str:
    """ "160 / 310 / 800": medians of when they were there after the process's start."""
    figures = [f"token_{token}_ms" for token in FIRST_TOKENS]
    return " / ".join(f"{median(per_round(baseline, figure)):,.0f}" for figure in figures)


def bandwidth_shares(baseline: dict[str, Any], depths: list[int]) -> str:
    """ "92% (88 … 95) / 90% (86 … 93)": at each depth the median, and the smallest and largest of
    the rounds' medians."""
    measured = [run["bandwidth_share"] for run in baseline["runs"] if "bandwidth_share" in run]
    if not measured:
        return "–"
    texts = []
    for depth in depths:
        rounds = [100 * median(shares[str(depth)]) for shares in measured]
        pooled = 100 * median(share for shares in measured for share in shares[str(depth)])
        around = f" ({min(rounds):.0f} … {max(rounds):.0f})" if len(rounds) > 1 else ""
        texts.append(f"{pooled:.0f}%{around}")
    return " / ".join(texts)


def row(results: Results, baseline: dict[str, Any]) -> str:
    width, name = baseline["width"], f"{baseline['runtime']} {baseline['variant']}"
    columns = len(results.header())
    if baseline.get("failed"):
        return f"| {width} | {name} | {baseline['failed']} |" + " |" * (columns - 3)
    agreement = baseline["agreement"]
    figures = f"{agreement['top1']:.1%} | {agreement['kl_divergence']:.1e}"
    greedy = f"{agreement['greedy_equal']} of {agreement['greedy_of']}"
    if not agreement["holds"]:
        text = f"no speeds: logits differ by {agreement['rms_difference']:.2g} of their deviation"
        return f"| {width} | {name} | {text} |" + " |" * (columns - 6) + f" {figures} | {greedy} |"
    own = results.fastest_kvcache(width)
    rows = [ROWS * 1e3 / step for step in per_round(baseline, "row_step_ms")]
    cells = [
        width,
        name,
        *(times(baseline, own, f"decode_ms_{depth}") for depth in results.depths),
        bandwidth_shares(baseline, results.depths),
        times(baseline, own, "prefill_ms", 0),
        f"{spread(rows, 0)}{ahead(baseline, own, 'row_step_ms')}" if rows else "–",
        f"{median(per_round(baseline, 'peak_bytes')) / MIB:,.0f}{multiple(baseline)}",
        times(baseline, None, "load_ms", 0),
        first_tokens(baseline),
        figures,
        greedy,
    ]
    return "| " + " | ".join(cells) + " |"


def markdown(raw: dict[str, Any]) -> str:
    """The table, what it was measured on, and what was left out."""
    results = Results(raw)
    machine = raw["environment"]
    bandwidth = [value / 1e9 for value in raw["bandwidth"]]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(raw["versions"].items()))
    runs = [run for one in results.baselines for run in one["runs"]]
    lines = [
        f"{raw.get('model', GPT2)}, {raw['threads']} threads on cores"
        f" {raw['cores']} of {machine['processor']}, {machine['date']}; {raw['rounds']} rounds of"
        f" alternating processes; read bandwidth {spread(bandwidth, 1)} GB/s. {versions}.",
        "",
        f"| {' | '.join(results.header())} |",
        "| --- | --- |" + " ---: |" * (len(results.header()) - 2),
        *(row(results, one) for one in results.baselines),
        "",
        "Medians over processes (smallest … largest). **1.20×**: their time ÷ kvcache's of the"
        " same width and round, the median; above 1, kvcache is ahead. Roofline: the weights of"
        " that width and the cache, read at the bandwidth just before and after every eight tokens,"
        " in processes of `kvcache bench`. top-1, KL and greedy tokens: against "
        f"{raw.get('reference', REFERENCE)}. Memory, ×: over files and cache; the bar:"
        f" {BAR_SHARE} × files + cache + {BAR_BYTES / 1e6:.0f} MB.",
    ]
    lines += memory_lines(results)
    if "random weights" in raw.get("model", ""):
        lines.append(
            "Random weights: the figures of the logits tell that everybody computes the same model,"
            " not what a width costs a trained one."
        )
    lines += [f"Left out: {one['name']}: {one['reason']}" for one in raw["skipped"]]
    disturbed = sum(not run["quiet"] for run in runs)
    if disturbed:
        lines.append(f"Other processes disturbed {disturbed} of {len(runs)} processes.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints the table of measurements made before.")
    parser.add_argument("results", type=Path, help="what cpu_peers.py --json wrote")
    path = parser.parse_args().results
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        print(f"error: {path} cannot be read: {error}", file=sys.stderr)
        return 2
    if raw.get("format") != "kvcache-peers":
        print(f"error: {path} was not written by cpu_peers.py", file=sys.stderr)
        return 2
    print(markdown(raw))
    return 0


if __name__ == "__main__":
    sys.exit(main())
