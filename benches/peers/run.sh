#!/bin/sh
# The comparison, from a fresh clone: builds Cognate, makes the Python environment when it is not there, and compares.
# Arguments go to compare.py (--rounds 3 --threads 1 2 --pairs one nine --max-tokens 0 …).
set -eu
cd "$(dirname "$0")/../.."
cargo build --release
[ -x benches/peers/.venv/bin/python ] || benches/peers/setup.sh
exec benches/peers/.venv/bin/python benches/peers/compare.py "$@"
