"""What becomes of CUDA sources that a host compiler is to take."""

from __future__ import annotations

from pathlib import Path

import emulate


def test_an_instruction_is_a_call_with_its_operands() -> None:
    source = """asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
                 : "=r"(words[at(1, 2)]), "=r"(words[kAt + 1])
                 : "l"(std::min(from, "a:b"))
                 : "memory");"""
    assert (
        emulate.emulated(source)
        == 'kvcache::emulation::load(std::min(from, "a:b"), words[at(1, 2)], words[kAt + 1]);'
    )


def test_instructions_of_several_lines_are_found_by_their_beginning() -> None:
    source = """asm volatile(
        "{\\n"
        ".reg .pred p;\\n"
        "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\\n"
        "selp.u32 %0, 1, 0, p;\\n"
        "}\\n"
        : "=r"(through)
        : "r"(address()), "r"(parity)
        : "memory");"""
    assert emulate.emulated(source) == "kvcache::emulation::look(through, address(), parity);"


def test_what_is_unknown_says_so_when_it_is_run() -> None:
    source = 'asm("elect.sync _|p, 0xFFFFFFFF;" : "=r"(is));'
    assert emulate.emulated(source) == (
        'kvcache::emulation::not_emulated("elect.sync _|p, 0xFFFFFFFF;");'
    )


def test_a_launch_calls_the_kernel_in_each_lane() -> None:
    assert emulate.emulated("pack<T><<<grid, 32, 0, stream>>>(Args<T>{f(x), y});") == (
        "kvcache::emulation::run({grid, 32, 0, stream}, false, [&] { pack<T>(Args<T>{f(x), y}); });"
    )


def test_memory_of_the_size_of_a_launch_is_the_blocks() -> None:
    for kind in ("unsigned char", "std::byte"):
        source = f"extern __shared__ __align__(128) {kind} dynamic[];"
        assert emulate.emulated(source) == (
            f"auto* const dynamic = reinterpret_cast<{kind}*>"
            "(kvcache::emulation::dynamic_memory());"
        )


def test_each_instruction_has_its_call() -> None:
    source = (
        'asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(a), "l"(b), "r"(c));'
    )
    assert emulate.emulated(source) == "kvcache::emulation::copy_or_clear(a, b, c);"
    assert "not_emulated" in emulate.emulated('asm("wgmma.fence.sync.aligned;");')


def test_copies_are_what_is_included_and_stay_where_nothing_changed(tmp_path: Path) -> None:
    cuda = tmp_path / "in" / "kernels" / "cuda"
    cuda.mkdir(parents=True)
    (cuda / "one.cu").write_text('#include "kernels/cuda/two.cuh"\n#include "kernels/other.hpp"\n')
    (cuda / "two.cuh").write_text("clock();\n")
    (cuda / "three.cuh").write_text("clock();\n")
    (cuda.parent / "other.hpp").write_text("clock();\n")
    out = tmp_path / "out"
    emulate.main(tmp_path / "in", out, ["kernels/cuda/one.cu"])
    copies = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert copies == ["kernels/cuda/one.cu", "kernels/cuda/two.cuh"]
    two = out / "kernels" / "cuda" / "two.cuh"
    assert two.read_text() == "kvcache::emulation::clock();\n"
    before = two.stat().st_mtime_ns
    emulate.main(tmp_path / "in", out, ["kernels/cuda/one.cu"])
    assert two.stat().st_mtime_ns == before
