"""A long run killed again and again: how much is computed again?

    python tests/torture/hour.py BINARY FLOW OUT [--kills 20] [--between 60 300] [--seed 1] [more arguments of `run`]

Starts the run, ends it by SIGKILL after 60 s and then after random times (seconds, `--between`), and resumes it each time; the last start runs to its
end. At each kill it says how old the newest checkpoint was: that, and no more, is computed again. Prints a line a kill and a summary; exit code 1
where the run resumed from nothing after its first minute, or a checkpoint was older than five minutes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("binary")
parser.add_argument("flow")
parser.add_argument("out")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--between", type=float, nargs=2, default=[60, 300])
parser.add_argument("--seed", type=int, default=1)
args, more = parser.parse_known_args()

manifest = os.path.join(args.out, "manifest.json")
random.seed(args.seed)


def saved():
    """Rows of the newest checkpoint, and when it was made."""
    try:
        with open(manifest) as f:
            return json.load(f)["rows"], os.stat(manifest).st_mtime
    except FileNotFoundError:
        return 0, None


def start():
    return subprocess.Popen([args.binary, "run", args.flow, "--out", args.out, *more], stderr=subprocess.DEVNULL)


ages, began = [], time.time()
for k in range(args.kills):
    wait = 60 if k == 0 else random.uniform(*args.between)
    process, at = start(), time.time()
    try:
        code = process.wait(wait)
        print(f"ended by itself with code {code} after {len(ages)} kills", flush=True)
        break
    except subprocess.TimeoutExpired:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows, made = saved()
    age = time.time() - max(made or 0, at)
    ages.append(age)
    print(f"kill {k + 1} after {wait:.0f} s: {rows} rows are saved, {age:.0f} s are computed again", flush=True)
    if k == 0 and rows == 0:
        sys.exit("nothing was saved in the first minute")
else:
    code = start().wait()
    print(f"the last start ended with code {code}", flush=True)
hours = (time.time() - began) / 3600
print(f"hour: {len(ages)} kills in {hours:.2f} hours, at most {max(ages):.0f} s computed again, {sum(ages) / len(ages):.0f} s in the mean")
sys.exit(code or max(ages) > 300)
