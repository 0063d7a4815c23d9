"""`python examples/self_play_ray --help`, or with `examples` on the path `-m self_play_ray`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Instead of this directory, whose modules are to be found in their package only.
sys.path = [entry for entry in sys.path if not entry or Path(entry).resolve() != HERE]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "python")]

try:
    from self_play_ray.command import main
except ModuleNotFoundError as error:
    if error.name != "pyarrow":
        raise
    print(
        "error: pyarrow is not installed: python -m pip install -r requirements-ray.txt",
        file=sys.stderr,
    )
    sys.exit(1)

if __name__ == "__main__":
    sys.exit(main())
