"""scripts/peers: set up, build, measure kvcache beside other runtimes."""

import subprocess
import sys

import build
from paths import BUILD, PYTHON, ROOT
from setup import setup
from steps import main, step

PEERS = ROOT / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import cpu_peers  # noqa: E402 (after the path)


def _command() -> int:
    cpu_peers.parser().parse_args()  # a wrong option is to be told at once
    setup()
    with step("peers", "build in build/"):
        build.configure(BUILD, "Release")
        build.build(BUILD)
    return subprocess.run([PYTHON, PEERS / "cpu_peers.py", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    main(_command)
