#!/usr/bin/env bash
# Runs the snippets of docs/tables.md that read tables (SQL by DuckDB, pandas, Polars) on a short run of the demo. The packages come
# into an environment under target/; where there is no Python, or no package index, the test is skipped, and says so.
# SNIPPETS_PYTHON=PYTHON takes a Python that has them. COGNATE=PROGRAM is the program; without it the one that the tests were run with.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
work="$target/snippets-test"
cognate="${COGNATE:-$target/checked/cognate}"
python="${SNIPPETS_PYTHON:-$work/venv/bin/python}"

skip() { printf 'snippets test SKIPPED: %s\n' "$1" | tee -a "${CI_SKIPPED:-/dev/null}"; exit 0; }
complete() { "$python" -c 'import duckdb, pandas, polars, pyarrow' >/dev/null 2>&1; }

mkdir -p "$work"
if ! complete; then
    [[ -z "${SNIPPETS_PYTHON:-}" ]] || skip "$python lacks duckdb, pandas, polars or pyarrow"
    command -v python3 >/dev/null 2>&1 || skip "there is no python3"
    python3 -m venv --clear "$work/venv" >/dev/null 2>&1 || skip "python3 makes no environment (on Debian: the package python3-venv)"
    timeout 400 "$python" -m pip install --quiet --disable-pip-version-check -r tests/snippets/requirements.txt >/dev/null 2>&1 ||
        skip "pip could not install $(paste -sd ' ' tests/snippets/requirements.txt)"
    complete || skip "the installed packages cannot be imported"
fi

"$cognate" run dataflows/demo.toml --out "$work/runs/demo" --max-tokens 20000 --fresh --quiet
"$python" tests/snippets/check.py docs/tables.md "$work"
