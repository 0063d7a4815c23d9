"""What a build for CUDA needs besides: a compiler, and ONNX Runtime with its CUDA provider."""

import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from paths import CUDA_ONNXRUNTIME_ROOT, DEPS, ONNXRUNTIME_ROOT, PYTHON, ROOT
from steps import StepError, run, step

REQUIREMENTS = ROOT / "requirements-cuda.txt"
OLDEST_CUDA = (12, 5)  # cudaGetDriverEntryPointByVersion
CHECKED = "libonnxruntime_providers_cuda.so"
LIBRARIES = ("libonnxruntime.so.", "libonnxruntime_providers_shared.so", CHECKED)
LOADED_LATER = ("libcudnn.so.9",)  # by the provider, when its first session is made

# Where each library comes from, by the beginning of its name; Python's packages are NVIDIA's own.
PROVIDERS = {
    "libcuda.so": "the NVIDIA driver",
    "libcudart.so": "CUDA's toolkit, or pip install nvidia-cuda-runtime",
    "libcublas": "CUDA's toolkit, or pip install nvidia-cublas",
    "libcurand.so": "CUDA's toolkit, or pip install nvidia-curand",
    "libcufft.so": "CUDA's toolkit, or pip install nvidia-cufft",
    "libnvrtc.so": "CUDA's toolkit, or pip install nvidia-cuda-nvrtc",
    "libcudnn.so": "cuDNN, or pip install nvidia-cudnn-cu13",
}


def provide() -> str:
    """Do every step; return the path of nvcc."""
    with step("setup", "CUDA compiler") as outcome:
        nvcc = compiler()
        outcome.text = nvcc
    with step("setup", "ONNX Runtime for CUDA") as outcome:
        if _make_root():
            outcome.text = f"made {CUDA_ONNXRUNTIME_ROOT.relative_to(ROOT)}"
        else:
            outcome.text = f"{CUDA_ONNXRUNTIME_ROOT.relative_to(ROOT)} in place"
    with step("setup", "libraries of CUDA") as outcome:
        missing = missing_libraries(CUDA_ONNXRUNTIME_ROOT / "lib" / CHECKED)
        outcome.text = describe(missing) if missing else "in place"
    return nvcc


def require_gpu() -> str:
    """What the driver calls the first GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise StepError(
            "no GPU can be used: nvidia-smi, which comes with NVIDIA's driver, is not on PATH",
            advice="Run this on a machine with an NVIDIA GPU and its driver.",
        )
    try:
        listed = run([program, "-L"])
    except StepError as error:
        raise StepError(
            f"no GPU can be used: {program} fails",
            output=error.output,
            advice="Run this on a machine with an NVIDIA GPU and its driver.",
        ) from error
    found = re.search(r"^GPU \d+: (.*?)(?: \(UUID|$)", listed, re.M)
    if found is None:
        raise StepError(f"no GPU can be used: {program} lists none", output=listed)
    return found[1]


def build_options() -> dict[str, str]:
    """Do every step; return what a build for CUDA is configured with."""
    return {
        "USE_CUDA": "ON",
        "KVCACHE_WARNINGS_AS_ERRORS": "OFF",  # nvcc's host compiler is not one of those tried
        "CMAKE_CUDA_COMPILER": provide(),
        "ONNXRUNTIME_ROOT_DIR": str(CUDA_ONNXRUNTIME_ROOT),
    }


def compiler() -> str:
    """The path of an nvcc that is new enough: CUDACXX, else on PATH, else /usr/local/cuda's."""
    chosen = os.environ.get("CUDACXX")
    nvcc = chosen or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        raise StepError(
            "no CUDA compiler found: CUDACXX is not set, and nvcc is neither on PATH nor in"
            " /usr/local/cuda/bin",
            advice="Install NVIDIA's CUDA toolkit (13 for this ONNX Runtime), or name its nvcc in"
            " CUDACXX.",
        )
    found = re.search(r"release (\d+)\.(\d+)", run([nvcc, "--version"]))
    if found is None or (int(found[1]), int(found[2])) < OLDEST_CUDA:
        is_version = f"{found[1]}.{found[2]}" if found else "no CUDA compiler"
        raise StepError(
            f"{nvcc} is {is_version}, must be {'.'.join(map(str, OLDEST_CUDA))} or later",
            advice="Install a newer CUDA toolkit, or name its nvcc in CUDACXX.",
        )
    return nvcc


def missing_libraries(provider: Path) -> list[str]:
    """The names of the libraries that ONNX Runtime's provider needs and the loader finds nowhere.

    Raises:
        StepError: ldd cannot be run, or says nothing of the file.
    """
    needed = run(["ldd", provider])
    # Its neighbour is found by ONNX Runtime itself, whatever the loader says.
    missing = re.findall(r"^\s*(\S+) => not found", needed, re.MULTILINE)
    found_later = [name for name in LOADED_LATER if not _loadable(name)]
    names = {*missing, *found_later} - {"libonnxruntime_providers_shared.so"}
    return sorted(names)


def _loadable(name: str) -> bool:
    """Whether the dynamic loader finds a library, asked in a process of its own."""
    try:
        run([PYTHON, "-c", f"import ctypes; ctypes.CDLL({name!r})"])
    except StepError:
        return False
    return True


def describe(missing: list[str]) -> str:
    """The missing libraries with what each comes from."""
    sources = [
        f"{name} ({next((PROVIDERS[start] for start in PROVIDERS if name.startswith(start)), '?')})"
        for name in missing
    ]
    return (
        f"missing: {'; '.join(sources)}. Until they are installed where the loader looks"
        " (LD_LIBRARY_PATH), models run on the CPU"
    )


def wanted_version() -> str:
    """The version of onnxruntime-gpu that requirements-cuda.txt pins."""
    found = re.search(r"^onnxruntime-gpu==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE)
    assert found, f"{REQUIREMENTS.name} pins onnxruntime-gpu"
    return found[1]


def _make_root() -> bool:
    """Make .deps/onnxruntime-cuda of the wheel's libraries; False if it is there."""
    version = wanted_version()
    stamp = CUDA_ONNXRUNTIME_ROOT / "VERSION_NUMBER"
    if stamp.exists() and stamp.read_text() == f"{version}\n":
        return False
    headers = Path(os.environ.get("ONNXRUNTIME_ROOT_DIR") or ONNXRUNTIME_ROOT) / "include"
    with tempfile.TemporaryDirectory(dir=DEPS) as folder:
        run(
            [
                *(PYTHON, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--only-binary", ":all:", "--dest", folder, "-r", REQUIREMENTS),
            ],
            advice="Is a Python package index in reach? onnxruntime-gpu is a few hundred MB; set"
            " ONNXRUNTIME_ROOT_DIR and configure with -DUSE_CUDA=ON to use one that is there.",
        )
        root = Path(folder) / "root"
        unpack(next(Path(folder).glob("*.whl")), root / "lib")
        shutil.copytree(headers, root / "include")
        (root / "VERSION_NUMBER").write_text(f"{version}\n")
        if CUDA_ONNXRUNTIME_ROOT.exists():
            shutil.rmtree(CUDA_ONNXRUNTIME_ROOT)
        root.rename(CUDA_ONNXRUNTIME_ROOT)
    return True


def unpack(wheel: Path, lib: Path) -> None:
    """Unpack the libraries of an onnxruntime-gpu wheel, with the links that a linker looks for.

    Raises:
        StepError: the wheel lacks one of them.
    """
    lib.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for library in LIBRARIES:
            start = f"onnxruntime/capi/{library}"
            member = next((name for name in names if name.startswith(start)), None)
            if member is None:
                raise StepError(
                    f"{wheel.name} holds no {start}",
                    advice=f"{REQUIREMENTS.name} must pin a version of onnxruntime-gpu for Linux.",
                )
            with archive.open(member) as source, (lib / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    main_library = next(lib.glob("libonnxruntime.so.*"))
    (lib / "libonnxruntime.so.1").symlink_to(main_library.name)
    (lib / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")
