"""ONNX Runtime's official builds send usage data; no script of this repository lets them."""

import os
import subprocess
from pathlib import Path

import pytest
from paths import ROOT


@pytest.mark.parametrize(("given", "seen"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_it_is_off_in_all_that_a_command_of_scripts_starts(
    given: dict[str, str], seen: str, tmp_path: Path
) -> None:
    """What the user says remains."""
    (tmp_path / "probe.py").write_text("import os; print(os.environ['ORT_DISABLE_TELEMETRY'])")
    (tmp_path / "python.sh").write_text((ROOT / "scripts" / "lib" / "python.sh").read_text())
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | given
    process = subprocess.run(
        ["bash", "-c", f". {tmp_path}/python.sh; run_python probe"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == f"{seen}\n"
