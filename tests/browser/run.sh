#!/usr/bin/env bash
# Makes the demo's report and drives it in a headless Chromium: sorts, searches, hovers, switches, tabs through it, in light
# and dark, wide and narrow. Without Chromium it is installed where apt and root are at hand; where it cannot be, the test
# is skipped, and says so. BROWSER_PICTURES=FOLDER keeps screenshots.
# COGNATE=PROGRAM is the program; without it the one that the tests were run with.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
run="$target/browser-test"
cognate="${COGNATE:-$target/checked/cognate}"

has() { command -v "$1" >/dev/null 2>&1; }
browser() { has chromium || has chromium-browser || has google-chrome || has google-chrome-stable; }
skip() { printf 'browser test SKIPPED: %s\n' "$1" | tee -a "${CI_SKIPPED:-/dev/null}"; exit 0; }

if ! browser || ! has python3; then
    { [[ $(id -u) == 0 ]] && has apt-get; } || skip "there is no Chromium (or no python3), and it cannot be installed without root and apt-get"
    packages=()
    browser || packages+=(chromium)
    has python3 || packages+=(python3)
    export DEBIAN_FRONTEND=noninteractive
    { timeout 120 apt-get update -qq && timeout 400 apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
        skip "apt-get could not install ${packages[*]}"
fi

mkdir -p "$run"
"$cognate" run dataflows/demo.toml --out "$run/demo" --max-tokens 110000 --fresh --quiet
"$cognate" run dataflows/demo-random.toml --out "$run/random" --max-tokens 20000 --fresh --quiet
"$cognate" report "$run/demo"
"$cognate" report "$run/demo" --beside "$run/random" --out "$run/beside.html"
python3 tests/browser/check.py "$run/demo/report.html" ${BROWSER_PICTURES:+"$BROWSER_PICTURES"}
python3 tests/browser/check.py "$run/beside.html" ${BROWSER_PICTURES:+"$BROWSER_PICTURES/beside"}
