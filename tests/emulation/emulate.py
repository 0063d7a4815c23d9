#!/usr/bin/env python3
"""Makes copies of CUDA sources that a host compiler takes, for tests/emulation.

    emulate.py SOURCES OUTPUT FILE ...

What nvcc alone understands becomes calls of tests/emulation: PTX in `asm` (CALLS says which
instruction is which call, with %0, %1, … as operands), launches, shared memory of the launch's
size, clocks. Copied are the files named, relative to SOURCES, and what they include of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

CUDA = "kernels/cuda/"
ASM = re.compile(r"\basm\b\s*(?:volatile)?\s*\(")
LAUNCH = re.compile(r"(\w+(?:<[\w, ]+>)?)<<<([^;]*?)>>>\s*\(")
DYNAMIC = re.compile(
    r"extern __shared__ (?:__align__\(\d+\) )?(unsigned char|std::byte) (\w+)\[\];"
)
MMA = "%0, %1, %2, %3, {%4, %5, %6, %7}, %8, %9"
SEND = (
    "{ .reg .b32 to; .reg .b32 barrier; mapa.shared::cluster.u32 to, %0, %4; "
    "mapa.shared::cluster.u32 barrier, %1, %4;"
)
CALLS = (  # the beginning of an instruction, and what does the same
    ("st.relaxed.gpu.global.u32", "store(%0, %1)"),
    ("st.relaxed.gpu.global.v2.u32", "store(%0, %1, %2)"),
    ("st.relaxed.sys.global.u64", "store(%0, %1)"),
    ("ld.relaxed.gpu.global.u32", "load(%1, %0)"),
    ("ld.relaxed.gpu.global.v2.u32", "load(%2, %0, %1)"),
    ("ld.relaxed.gpu.global.v4.u32", "load(%4, %0, %1, %2, %3)"),
    ("barrier.sync 1, %0", "wait_at_barrier(1, %0)"),
    ("barrier.sync 2, 64", "wait_at_barrier(2, 64)"),
    ("prefetch.global.L2", "nothing()"),
    ("setmaxnreg", "nothing()"),
    ("fence", "nothing()"),
    ("createpolicy", "nothing()"),
    ("mbarrier.init", "make_barrier(%0, %1)"),
    ("mbarrier.arrive.expect_tx", "arrive_and_expect(%0, %1)"),
    ("mbarrier.arrive.shared", "arrive(%0)"),
    ("{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster", "look_later(%0, %1, %2)"),
    ("{ .reg .pred p; mbarrier.try_wait.parity.shared", "look_later(%0, %1, %2)"),
    ("{ .reg .pred p; mbarrier.test_wait.parity.shared", "look(%0, %1, %2)"),
    ("cp.async.bulk.shared::cluster.global.mbarrier", "copy(%0, %1, %2, %3)"),
    ("cp.async.cg.shared.global [%0], [%1], 16, %2", "copy_or_clear(%0, %1, %2)"),
    ("cp.async.cg.shared.global", "copy_or_clear(%0, %1, 16)"),
    ("cp.async.commit_group", "nothing()"),
    ("cp.async.wait", "nothing()"),
    ("griddepcontrol", "nothing()"),
    ("barrier.cluster.arrive", "arrive_at_cluster()"),
    ("barrier.cluster.wait", "wait_for_cluster()"),
    (f"{SEND} st.async", "send(%0, %1, %2, %3, %4)"),
    ("ex2.approx.ftz.f32", "exp2_flushed(%0, %1)"),
    ("max.NaN.f32 %0, %0, %1", "raise(%0, %1)"),
    ("ldmatrix.sync.aligned.m8n8.x4.trans", "load_matrices(true, %4, %0, %1, %2, %3)"),
    ("ldmatrix.sync.aligned.m8n8.x4", "load_matrices(false, %4, %0, %1, %2, %3)"),
    ("mma.sync.aligned.m16n8k8.row.col.f32.tf32", f"multiply_add_tf32({MMA})"),
    ("mma.sync.aligned.m16n8k16.row.col.f32.f16", f"multiply_add<__half>({MMA})"),
    ("mma.sync.aligned.m16n8k16.row.col.f32.bf16", f"multiply_add<__nv_bfloat16>({MMA})"),
    ("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8", f"multiply_add_bytes({MMA})"),
    ("movmatrix.sync.aligned.m8n8.trans.b16", "transpose(%0, %1)"),
)


def main(sources: Path, output: Path, files: list[str]) -> None:
    """Write the copies; those that would be the same stay as they are, for the build's sake."""
    found: set[str] = set()
    for file in files:
        _collect(sources, file, found)
    for file in sorted(found):
        if file.startswith(CUDA):
            copy = emulated((sources / file).read_text(encoding="utf-8"))
            path = output / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != copy:
                path.write_text(copy, encoding="utf-8")


def _collect(sources: Path, file: str, found: set[str]) -> None:
    if file in found or not (sources / file).is_file():
        return
    found.add(file)
    for name in re.findall(r'#include "([^"]+)"', (sources / file).read_text(encoding="utf-8")):
        _collect(sources, name, found)


def emulated(text: str) -> str:
    """A source for the host of one for nvcc."""
    text = _replaced(text, ASM, lambda _match, inside: f"kvcache::emulation::{_call(inside)}")
    text = _replaced(
        text,
        LAUNCH,
        lambda match, inside: (
            f"kvcache::emulation::run({{{match[2]}}}, false, [&] {{ {match[1]}({inside}); }})"
        ),
    )
    text = DYNAMIC.sub(
        r"auto* const \2 = reinterpret_cast<\1*>(kvcache::emulation::dynamic_memory());", text
    )
    text = re.sub(r"\bclock\(\)", "kvcache::emulation::clock()", text)
    text = text.replace("cudaLaunchKernelEx(", "kvcache::emulation::launch(")
    for name in ("__CUDA_ARCH__", "__CUDA_ARCH_FEAT_SM90_ALL"):
        text = re.sub(rf"\b{name}\b", f"EMULATED{name}", text)
    return text


def _replaced(
    text: str, pattern: re.Pattern[str], replacement: Callable[[re.Match[str], str], str]
) -> str:
    """What the pattern finds, to the closing parenthesis of the one that it ends with."""
    parts = []
    at = 0
    while match := pattern.search(text, at):
        end = _end(text, match.end())
        parts += [text[at : match.start()], replacement(match, text[match.end() : end - 1])]
        at = end
    return "".join([*parts, text[at:]])


def _end(text: str, at: int) -> int:
    depth = 1
    while depth > 0:
        if text[at] == '"':
            at = text.index('"', at + 1)
        else:
            depth += (text[at] == "(") - (text[at] == ")")
        at += 1
    return at


def _call(statement: str) -> str:
    """An asm statement without its parentheses as a call."""
    instruction, *sections = _split(statement, ":")
    lines = re.findall(r'"([^"]*)"', instruction)
    instruction = re.sub(r"\s+", " ", " ".join(lines).replace("\\n", " ")).strip()
    operands = [
        re.sub(r'^\s*"[^"]*"\s*\((.*)\)\s*$', r"\1", operand, flags=re.S)
        for section in sections[:2]
        for operand in _split(section, ",")
        if operand.strip()
    ]
    for beginning, call in CALLS:
        if instruction.startswith(beginning):
            return re.sub(r"%(\d)", lambda match: operands[int(match[1])], call)
    return f'not_emulated("{instruction}")'


def _split(text: str, separator: str) -> list[str]:
    """At the separators that are in no parentheses and no string."""
    parts = [""]
    depth = 0
    quoted = False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in "([{") - (character in ")]}")
        if character == separator and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
