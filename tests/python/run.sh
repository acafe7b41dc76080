#!/usr/bin/env bash
# Tests the Python package of python/: its types by mypy, its tests by pytest, and its notebooks, which are run again and compared with the
# output that they hold. The packages come into an environment under target/; where there is no Python, or no package index, the test is
# skipped, and says so. PACKAGE_PYTHON=PYTHON takes a Python that has them. COGNATE=PROGRAM is the program; without it the one that
# the tests were run with. With --write the notebooks get the output of now.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
[[ "$target" == /* ]] || target="$PWD/$target"
work="$target/python-test"
cognate="${COGNATE:-$target/checked/cognate}"
python="${PACKAGE_PYTHON:-$work/venv/bin/python}"

skip() { printf 'python test SKIPPED: %s\n' "$1" | tee -a "${CI_SKIPPED:-/dev/null}"; exit 0; }
complete() { "$python" -c 'import duckdb, ipykernel, matplotlib, mypy, nbclient, pandas, polars, pyarrow, pytest' >/dev/null 2>&1; }

mkdir -p "$work"
if ! complete; then
    [[ -z "${PACKAGE_PYTHON:-}" ]] || skip "$python lacks some of $(paste -sd ' ' tests/python/requirements.txt)"
    command -v python3 >/dev/null 2>&1 || skip "there is no python3"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || skip "python3 is older than 3.9"
    python3 -m venv --clear "$work/venv" >/dev/null 2>&1 || skip "python3 makes no environment (on Debian: the package python3-venv)"
    timeout 400 "$python" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt >/dev/null 2>&1 ||
        skip "pip could not install $(paste -sd ' ' tests/python/requirements.txt)"
    complete || skip "the installed packages cannot be imported"
fi
COGNATE_BINARY=$(realpath "$cognate")
export COGNATE_BINARY PYTHONPATH="$PWD/python/src" PYTHONDONTWRITEBYTECODE=1

(cd python && "$python" -m mypy --cache-dir "$work/mypy" && "$python" -m pytest -q -rs -p no:cacheprovider) | tee "$work/said"
sed -n 's/^SKIPPED/python test SKIPPED:/p' "$work/said" >>"${CI_SKIPPED:-/dev/null}"
"$python" tests/python/notebooks.py "$work/notebooks" "$@"
