#!/usr/bin/env bash
# All of the torture by one command: every call of the system failed in every way, 1,000 kills, disks of every size, clocks that jump,
# processes that fail in order, 10^6 hostile inputs. Some hours on two cores. What it prints last is the table of benches/README.md.
# With arguments, only the stages named: faults kills disks peers relay clocks orderly hostile. The faults alone are some 30,000, two to
# three hours: COGNATE_TORTURE_PART=0/4 takes a quarter of them, 1/4 the next.
set -euo pipefail
cd "$(dirname "$0")/../.."
stages=("${@:-faults kills disks peers relay clocks orderly hostile}")
log="$(mktemp -d)"
torture() { cargo test --profile checked --test torture -- --nocapture --test-threads 2 "$1" 2>&1 | tee "$log/$1"; }
failed=0
for stage in ${stages[*]}; do
    case "$stage" in
    faults) COGNATE_TORTURE=all torture faults:: || failed=1 ;;
    # five scenes
    kills) COGNATE_KILLS=200 torture kills:: || failed=1 ;;
    peers) COGNATE_PEERS=50 torture peers:: || failed=1 ;;
    relay) COGNATE_RELAYED=20 torture relay:: || failed=1 ;;
    clocks) COGNATE_CLOCKS=50 torture clocks:: || failed=1 ;;
    orderly) COGNATE_ORDERLY=20 torture orderly:: || failed=1 ;;
    disks) COGNATE_DISKS=100 torture disks:: || failed=1 ;;
    hostile)
        # some 20 formats
        COGNATE_HOSTILE_INPUTS=50000 cargo test --profile checked --test hostile -- --nocapture 2>&1 | tee "$log/hostile" || failed=1
        ;;
    *) echo "$stage: expected faults, kills, disks, peers, relay, clocks, orderly or hostile" >&2 && exit 2 ;;
    esac
done
printf '\n| attack | count and result |\n| --- | --- |\n'
cat "$log"/* | grep -hE '^(faults|kills|disks|clocks|orderly), |^peers: |^relay: |inputs' | sed -E 's/^(test .* \.\.\. )?([^:]*): (.*)$/| \2 | \3 |/'
printf '\nat commit %s\n' "$(git log -1 --format=%h)"
exit "$failed"
