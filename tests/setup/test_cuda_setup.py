"""scripts/setup --cuda: the compiler it takes, the libraries it unpacks and those it misses."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import cuda
import pytest
from paths import CUDA_ONNXRUNTIME_ROOT, ROOT
from steps import StepError


def nvcc(folder: Path, says: str) -> str:
    program = folder / "nvcc"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return str(program)


def test_a_compiler_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = nvcc(tmp_path, "Cuda compilation tools, release 12.5, V12.5.40")
    monkeypatch.setenv("CUDACXX", program)
    assert cuda.compiler() == program


def test_a_compiler_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = nvcc(tmp_path, "Cuda compilation tools, release 12.4, V12.4.99")
    monkeypatch.setenv("CUDACXX", program)
    with pytest.raises(StepError, match=f"{program} is 12.4, must be 12.5 or later"):
        cuda.compiler()


def test_something_else_than_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDACXX", nvcc(tmp_path, "hello"))
    with pytest.raises(StepError, match="is no CUDA compiler, must be"):
        cuda.compiler()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setattr(cuda.shutil, "which", lambda *_, **__: None)
    with pytest.raises(StepError, match="no CUDA compiler found") as raised:
        cuda.compiler()
    assert "CUDA toolkit" in raised.value.advice


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_gpu_that_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'")
    assert cuda.require_gpu() == "NVIDIA H200"


@pytest.mark.parametrize(
    ("script", "said"), [("exit 0", "lists none"), ("echo broken; exit 9", "nvidia-smi fails")]
)
def test_no_gpu_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, script)
    with pytest.raises(StepError, match=f"no GPU can be used: .*{said}"):
        cuda.require_gpu()


def test_no_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.shutil, "which", lambda *_, **__: None)
    with pytest.raises(StepError, match="nvidia-smi, which comes with NVIDIA's driver") as raised:
        cuda.require_gpu()
    assert "a machine with an NVIDIA GPU" in raised.value.advice


def test_the_tests_on_a_gpu_are_a_run_of_their_own() -> None:
    command = [ROOT / "scripts" / "test", "--cuda", "--full"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--full and --cuda are two runs; give one of them" in done.stderr


def test_the_provider_is_of_the_same_version_as_the_exporters_runtime() -> None:
    pinned = re.search(r"^onnxruntime==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M)
    assert pinned
    assert cuda.wanted_version() == pinned[1]


def test_a_wheel_is_unpacked_with_the_links_that_a_linker_needs(tmp_path: Path) -> None:
    wheel = tmp_path / "ort.whl"
    names = [
        "libonnxruntime.so.1.31.1",
        *cuda.LIBRARIES[1:],
        "libonnxruntime_providers_tensorrt.so",
    ]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(f"onnxruntime/capi/{name}", name)
    cuda.unpack(wheel, tmp_path / "lib")
    unpacked = {path.name: path.read_text() for path in (tmp_path / "lib").iterdir()}
    assert unpacked == {
        **{name: name for name in names[:-1]},
        "libonnxruntime.so": names[0],
        "libonnxruntime.so.1": names[0],
    }


def test_a_wheel_without_the_provider_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "ort.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/capi/libonnxruntime.so.1.31.1", "")
        archive.writestr("onnxruntime/capi/libonnxruntime_providers_shared.so", "")
    with pytest.raises(StepError, match=r"ort.whl holds no .*libonnxruntime_providers_cuda.so"):
        cuda.unpack(wheel, tmp_path / "lib")


def test_missing_libraries_are_named_with_what_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ldd = tmp_path / "ldd"
    ldd.write_text(
        "#!/bin/sh\n"
        "echo '  libcublasLt.so.13 => not found'\n"
        "echo '  libonnxruntime_providers_shared.so => not found'\n"
        "echo '  libc.so.6 => /lib/libc.so.6 (0x1)'\n"
    )
    ldd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(cuda, "LOADED_LATER", ("libcudnn.so.no-such",))
    missing = cuda.missing_libraries(tmp_path / "provider.so")
    assert missing == ["libcublasLt.so.13", "libcudnn.so.no-such"]
    said = cuda.describe(missing)
    assert "libcublasLt.so.13 (CUDA's toolkit, or pip install nvidia-cublas)" in said
    assert "libcudnn.so.no-such (cuDNN, or pip install nvidia-cudnn-cu13)" in said


@pytest.mark.full
def test_setup_for_cuda_and_again() -> None:
    """Needs a CUDA compiler; downloads onnxruntime-gpu unless it is in place."""
    try:
        cuda.compiler()
    except StepError as error:
        pytest.skip(str(error))
    for _ in range(2):
        said = subprocess.run(
            [ROOT / "scripts" / "setup", "--cuda"], capture_output=True, text=True, check=True
        ).stdout
    assert ".deps/onnxruntime-cuda in place" in said
    assert (CUDA_ONNXRUNTIME_ROOT / "lib" / cuda.CHECKED).stat().st_size > 1_000_000
