"""Where things are in the source tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DEPS = ROOT / ".deps"
DEBIAN_ROOT = DEPS / "debian"
ONNXRUNTIME_ROOT = DEPS / "onnxruntime"
CUDA_ONNXRUNTIME_ROOT = DEPS / "onnxruntime-cuda"
BUILD = ROOT / "build"
CUDA_BUILD = ROOT / "build-cuda"
MODELS = ROOT / "models"
GOLDENS = ROOT / "tests" / "goldens"
