"""What the comparisons share: options, the bench's executable, processor seconds, rounds, medians with their spread."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def parser(description, rounds, work):
    """Options that every comparison has; `work` says what its folder is for."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--work", default="runs/peers", help=f"folder for {work}")
    found.add_argument("--binary", help="the executable of benches/parts.rs; built when none is named")
    found.add_argument("--json", help="file for every figure")
    return found


def wait_passively():
    """Starts this script again with torch's threads told not to spin; to be called before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ, OMP_WAIT_POLICY="passive"))


def built():
    """The executable of benches/parts.rs."""
    command = ["cargo", "bench", "--bench", "parts", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in found if m.get("target", {}).get("name") == "parts" and m.get("executable"))


def ask(command, threads=None):
    """What the executable answers."""
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads)) if threads else None
    return json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work):
    """Processor seconds of `work()`, and what it gives."""
    begin = cpu_seconds()
    given = work()
    return cpu_seconds() - begin, given


def keep(figures, path):
    """Writes every figure so far to `path`, where there is one."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


def spread(values, digits=1):
    """Median, smallest and largest."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
