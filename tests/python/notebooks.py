"""Runs the notebooks of python/notebooks in a fresh folder and compares what their cells print with what they hold.

    notebooks.py FOLDER [--write] [NAME …]

Pictures are not compared, and neither is a cell with the tag `varies` (times, progress). With --write the notebooks get the output of now.
"""

import difflib
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PROJECT = Path(__file__).resolve().parents[2]


def printed(cell):
    """What a cell printed and gave, as text."""
    if "varies" in cell.metadata.get("tags", []):
        return []
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif "image/png" not in output.data:
            texts.append(output.data.get("text/plain", ""))
    return "\n".join(texts).splitlines()


def plain(notebook):
    """Without what changes from one run to the next: times of execution, ids, versions of the kernel."""
    notebook.metadata = nbformat.from_dict({"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}})
    for k, cell in enumerate(notebook.cells):
        cell.id = f"cell-{k}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def main():
    folder, names = Path(sys.argv[1]), [name for name in sys.argv[2:] if not name.startswith("--")]
    write = "--write" in sys.argv
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # the notebooks look for the demo's folder upwards; runs go beside these links, not into the repository
    for name in ("data", "dataflows"):
        (folder / name).symlink_to(PROJECT / name)
    differ = 0
    for path in sorted((PROJECT / "python/notebooks").glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        expected = [printed(cell) if cell.cell_type == "code" else [] for cell in notebook.cells]
        started = time.monotonic()
        NotebookClient(notebook, timeout=540, kernel_name="python3", resources={"metadata": {"path": os.fspath(folder)}}).execute()
        print(f"{path.name}: {len(notebook.cells)} cells in {time.monotonic() - started:.0f} s", flush=True)
        if write:
            nbformat.write(plain(notebook), path)
            continue
        for k, (cell, then) in enumerate(zip(notebook.cells, expected)):
            now = printed(cell) if cell.cell_type == "code" else []
            if now != then:
                differ += 1
                print(f"{path.name}, cell {k}: the output that it holds is not what it gives now (--write keeps what it gives)")
                print("\n".join(difflib.unified_diff(then, now, "held", "now", lineterm="")))
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
