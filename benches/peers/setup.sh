#!/bin/sh
# Makes the Python environment of the comparison in benches/peers/.venv (ignored by git). Needs about 8 GB of disk.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --requirement requirements.txt
.venv/bin/python -c 'import torch, transformers; print("torch", torch.__version__, "transformers", transformers.__version__)'
