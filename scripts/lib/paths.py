"""Where things are in the source tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DEPS = ROOT / ".deps"
DEBIAN_ROOT = DEPS / "debian"
ONNXRUNTIME_ROOT = DEPS / "onnxruntime"
BUILD = ROOT / "build"
MODELS = ROOT / "models"
GOLDENS = ROOT / "tests" / "goldens"
