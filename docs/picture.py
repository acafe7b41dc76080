"""Makes docs/report.png, the picture in README: scores and best matches of the demo's report, in a headless Chromium.

Usage: python3 docs/picture.py [RUN]     (RUN: the demo's run directory, by default runs/demo)
"""

import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "tests" / "browser"))
import devtools

LIMIT = 300_000
report = (pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here.parent / "runs" / "demo") / "report.html").resolve()
program = devtools.find() or sys.exit("no Chromium is installed")
page = devtools.Browser(program)
try:
    page.size(1160, 900)
    page.scheme("light")
    page.open(report.as_uri())
    # one box around the sections that the picture shows
    page.ask("""(() => {
        const box = document.createElement("div");
        box.id = "picture";
        box.style.padding = "0 16px";
        const first = document.querySelector("#scores");
        first.before(box);
        box.append(first, document.querySelector("#single"));
        for (const table of document.querySelectorAll("#scores h3, #scores table")) {
            if (table.textContent.startsWith("Semantic")) { while (table.nextSibling) table.nextSibling.remove(); table.remove(); break; }
        }
    })()""")
    page.settle()
    page.picture(here / "report.png", "#picture")
finally:
    page.close()
size = (here / "report.png").stat().st_size
if size > LIMIT:
    sys.exit(f"docs/report.png has {size} bytes, over {LIMIT}")
print(f"docs/report.png: {size} bytes")
