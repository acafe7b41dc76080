#!/usr/bin/env bash
# How long from a checkout to the first match? Builds the wheel (maturin, with what the target folder holds), installs it into a fresh
# environment, and runs the first notebook there; the output that the notebook holds must come out. Prints minutes. PROFILE=checked takes what
# tests were built with; the default is a release, as `pip install ./python` builds. Needs python3 and a package index.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
[[ "$target" == /* ]] || target="$PWD/$target"
work="$target/wheel-test"
profile="${PROFILE:-release}"
unset COGNATE_BINARY PYTHONPATH

lap() {
    local now=$SECONDS
    printf '%-12s %6.1f minutes\n' "$1" "$(python3 -c "print(($now - $from) / 60)")"
    from=$now
}

rm -rf "$work"
mkdir -p "$work"
SECONDS=0 from=0
python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2'
lap maturin
(cd python && "$work/build/bin/maturin" build --quiet --profile "$profile" --target-dir "$target" --out "$work/wheels" --interpreter python3)
lap "wheel"
start=$from
python3 -m venv "$work/fresh"
"$work/fresh/bin/pip" install --quiet --disable-pip-version-check "$(echo "$work"/wheels/*.whl)[figures]" ipykernel nbclient
lap install
# the program and the package of the wheel, not those of the checkout
(cd "$work" && "$work/fresh/bin/python" -c "import cognate; assert '$work' in cognate.program() and '$work' in cognate.__file__, cognate")
PATH="$work/fresh/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 "$work/fresh/bin/python" tests/python/notebooks.py "$work/notebooks" first_match
lap notebook
from=$start
lap "wheel to end"
from=0
lap all
du -h "$work"/wheels/*.whl | sed "s|$work/wheels/||"
