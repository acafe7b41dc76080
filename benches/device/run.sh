#!/usr/bin/env bash
# Everything that a device must show, in about twelve minutes: numbers beside torch's on the same device, then whole runs beside a streaming
# and a dense rewrite by torch and scipy, in turns.
#
#   benches/device/run.sh PROGRAM OUT      PROGRAM: built with --features cuda; OUT: a folder for the figures, kept raw
#
# Needs a Python with torch, transformers, safetensors, tokenizers, scipy and pyarrow (PYTHON), and no network. DEVICE=cpu DTYPES=f32
# SHAPES="pythia-70m=3 pythia-160m=6" WIDE= TOKENS=4000 tries the script itself where there is no device.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "$1") out=$(realpath -m "$2")
device=${DEVICE:-cuda:0} dtypes=${DTYPES:-bf16 f32} rounds=${ROUNDS:-3} tokens=${TOKENS:-200000} python=${PYTHON:-python3}
shapes=${SHAPES:-pythia-70m=3 pythia-160m=6} wide=${WIDE-wide-2b=13} data=${DATA:-/tmp/cognate-shapes}
mkdir -p "$out" "$data"
began=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - began)) "$*"; }

say "writing models and SAEs of random weights"
# shellcheck disable=SC2086
"$python" benches/peers/shapes.py --out "$data" --layers $shapes
if [ -n "$wide" ]; then
    "$python" benches/peers/shapes.py --out "$data" --layers "$wide" --d-sae 16384
    # one copy of the model serves both
    mkdir -p "$data/131k" && ln -sfn "$data/models" "$data/131k/models"
    "$python" benches/peers/shapes.py --out "$data/131k" --layers "$wide" --d-sae 131072
fi

say "numbers beside torch's"
# shellcheck disable=SC2086
"$python" benches/device/check.py --binary "$program" --device "$device" --data "$data" --model ${shapes##* } $wide --dtype $dtypes --json "$out/numbers.json"

# flow NAME DTYPE SOURCE_MODEL=BLOCK SOURCE_SAES TARGET_MODEL=BLOCK
flow() {
    local source=${3%%=*} target=${5%%=*}
    cat > "$out/$1.toml" <<TOML
format = 1
name = "$1"
[corpus]
files = ["$PWD/data/demo/corpus.jsonl"]
context_length = 256
batch_contexts = 32
[models.$source]
path = "$data/models/$source"
backend = "candle"
device = "$device"
dtype = "$2"
[models.$target]
path = "$data/models/$target"
backend = "candle"
device = "$device"
dtype = "$2"
[saes."$source/resid_post.${3##*=}"]
path = "$4/$source/layers.${3##*=}"
[saes."$target/resid_post.${5##*=}"]
path = "$data/saes/$target/layers.${5##*=}"
[compare]
pairs = "all"
[estimate]
snapshot_every = 1_000_000_000
top_tokens = 1
null = { documents = false }
[checkpoint]
every = 1_000_000_000
[check]
doctor = "off"
TOML
}

torch_name() { case "$1" in bf16) echo bfloat16 ;; f16) echo float16 ;; *) echo float32 ;; esac; }

# turns NAME DTYPE PAIRS WAYS: Cognate, then each way of torch, and again
turns() {
    for ((round = 1; round <= rounds; round++)); do
        say "$1 in $2, round $round"
        "$program" run "$out/$1.toml" --out "$out/run-$1" --fresh --json --max-tokens "$tokens" | tail -n 1 > "$out/$1-$2-cognate-$round.json"
        for way in $4; do
            "$python" benches/peers/demo.py --pairs "$3" --way "$way" --blocks needed --threads "$(nproc)" --device "$device" \
                --dtype "$(torch_name "$2")" --data "$data" --max-tokens "$([ "$way" = dense ] && echo 8000 || echo "$tokens")" \
                | tail -n 1 > "$out/$1-$2-$way-$round.json"
        done
    done
}

read -r target source <<< "$shapes"
for dtype in $dtypes; do
    flow shapes "$dtype" "$source" "$data/saes" "$target"
    turns shapes "$dtype" shapes "stream dense"
done
if [ -n "$wide" ]; then
    dtype=${dtypes%% *}
    flow wide-16k "$dtype" "$wide" "$data/saes" "$source"
    turns wide-16k "$dtype" wide stream
    flow wide-131k "$dtype" "$wide" "$data/131k/saes" "$source"
    rounds=1 turns wide-131k "$dtype" wide ""
fi
rm -rf "$out"/run-*
"$python" benches/device/table.py "$out"
say done
