# shellcheck shell=bash
# Sourced by the commands in scripts/: finds a Python that is new enough to run the rest of them.

# run_python MODULE [ARGUMENT...]: becomes scripts/lib/MODULE.py.
run_python() {
  local library python compiler=${CXX:-c++}
  # ONNX Runtime's official builds send usage data; nothing that runs from here does.
  export ORT_DISABLE_TELEMETRY="${ORT_DISABLE_TELEMETRY:-1}"
  library="$(dirname "${BASH_SOURCE[0]}")"
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      exec "$python" -X utf8 "$library/$1.py" "${@:2}"
    fi
  done
  echo "Error: Python 3.11 or newer is needed and was not found." \
    "On Debian and Ubuntu: apt-get install python3-dev python3-venv" \
    "(Ubuntu 22.04: python3.11-dev python3.11-venv)" >&2
  if ! command -v "${compiler%% *}" g++ clang++ > /dev/null; then
    echo "A C++20 compiler is needed too: apt-get install g++" >&2
  fi
  exit 1
}
