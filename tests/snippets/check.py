"""Runs every SQL and Python snippet of a document that reads tables of `runs/demo`, each by itself, in a folder that holds
such a run: it must finish and print rows.

Usage: check.py DOCUMENT FOLDER
"""

import os
import re
import subprocess
import sys
from pathlib import Path


def snippets(document: str) -> list[tuple[str, int, str]]:
    """Language, line and text of each fenced block that names a table of the demo's run."""
    text = Path(document).read_text()
    blocks = re.finditer(r"^```(sql|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [(b[1], text.count("\n", 0, b.start()) + 1, b[2]) for b in blocks]
    return [s for s in found if "runs/demo/" in s[2]]


def by_duckdb(text: str) -> None:
    import duckdb

    statements = [s for s in text.split(";") if s.strip()]
    for statement in statements:
        rows = duckdb.sql(statement)
        rows.show(max_width=140)
        if len(rows.fetchall()) == 0:
            sys.exit("no rows")


def prints_rows(printed: str) -> bool:
    """Whether a printed frame holds a row: pandas says when it is empty, Polars gives the shape."""
    lines = [line for line in printed.splitlines() if line.strip()]
    return len(lines) > 1 and "Empty DataFrame" not in printed and "shape: (0," not in printed


def main() -> None:
    if sys.argv[1] == "--sql":
        return by_duckdb(sys.stdin.read())
    document, folder = sys.argv[1], sys.argv[2]
    found = snippets(document)
    kinds = {language for language, _, _ in found}
    if kinds != {"sql", "python"} or not any("pandas" in t for _, _, t in found) or not any("polars" in t for _, _, t in found):
        sys.exit(f"{document}: snippets of SQL, pandas and Polars were looked for, found {len(found)} of {sorted(kinds)}")
    failed = 0
    for language, line, text in found:
        command = [sys.executable, os.path.abspath(__file__), "--sql"] if language == "sql" else [sys.executable, "-"]
        done = subprocess.run(command, input=text, cwd=folder, text=True, capture_output=True)
        good = done.returncode == 0 and prints_rows(done.stdout)
        failed += not good
        print(f"{document}:{line}: {language}: {'rows' if good else 'FAILED'}\n{done.stdout}")
        if not good:
            print(f"exit code {done.returncode}\n{done.stderr}")
    print(f"{len(found) - failed} of {len(found)} snippets run and print rows")
    sys.exit(1 if failed else 0)


main()
