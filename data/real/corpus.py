#!/usr/bin/env python3
"""Makes data/real/corpus.jsonl, some 16 MB of English technical text of eleven kinds, out of Debian 12's documentation packages.

    data/real/corpus.py            needs apt-get and dpkg-deb (Debian or Ubuntu), lxml, 1 GB of disk while it works

One line is one passage of 600 to 3 000 characters: {"id", "text", "domain"}. The same packages give the same bytes. Each package's own
licence stands in its `copyright` file; the text is for measuring with, and is not shipped.
"""

import glob
import json
import os
import random
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "corpus.jsonl")
PACKAGES = "postgresql-doc-15 git-doc perl-doc fortunes fortunes-min gimp-help-en maxima-doc r-doc-html rust-doc linux-doc-6.1".split()
# domain: pages of it, and the most that are read
PAGES = [
    ("postgres", "**/postgresql-doc-15/**/*.html", 1200),
    ("git", "**/git/**/*.html", 400),
    ("gimp", "**/gimp/**/*.html", 800),
    ("maxima", "**/maxima/**/*.html", 320),
    ("r", "**/R/**/*.html", 100),
    ("rustbook", "**/book/*.html", 200),
    ("ruststd", "**/std/**/*.html", 500),
    ("linux", "**/linux-doc*/**/*.html", 900),
]
MOST = 1_800_000  # characters of one domain


def passages(text):
    """Pieces of 600 to 3 000 characters, cut between paragraphs."""
    text = re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()
    piece = ""
    for paragraph in text.split("\n\n"):
        if len(piece) + len(paragraph) > 2600 and len(piece) > 600:
            yield piece
            piece = ""
        piece += ("\n\n" if piece else "") + paragraph[:2600]
    if len(piece) > 600:
        yield piece[:3000]


def page_text(path):
    from lxml import html

    root = html.parse(path, parser=html.HTMLParser(encoding="utf-8")).getroot()
    if root is None:
        return ""
    for node in root.xpath("//script|//style|//nav|//head|//header|//footer"):
        node.drop_tree()
    nodes = root.xpath("//p|//pre|//li[not(.//p)]|//h1|//h2|//h3|//td[not(.//p)]")
    return "\n\n".join(n.text_content() if n.tag == "pre" else re.sub(r"\s+", " ", n.text_content()) for n in nodes)


def read(path):
    with open(path, encoding="utf-8", errors="ignore") as file:
        return file.read()


def texts(root):
    """(domain, passage), in an order that the seed alone decides."""
    for domain, pattern, most in PAGES:
        found = sorted(glob.glob(os.path.join(root, pattern), recursive=True))
        random.shuffle(found)
        for path in found[:most]:
            for piece in passages(page_text(path)):
                yield domain, piece
    for path in sorted(glob.glob(os.path.join(root, "**/*.pod"), recursive=True)):
        plain = re.sub(r"^=\w+.*$", "", read(path), flags=re.M)
        for piece in passages(re.sub(r"[A-Z]<+\s?([^<>]*)\s?>+", r"\1", plain)):
            yield "perl", piece
    for path in sorted(glob.glob(os.path.join(root, "**/games/fortunes/*"), recursive=True)):
        if os.path.isfile(path) and not path.endswith((".dat", ".u8")):
            sayings = read(path).split("\n%\n")
            for at in range(0, len(sayings), 8):
                yield "fortune", "\n\n".join(sayings[at : at + 8])


def main():
    random.seed(7)
    with tempfile.TemporaryDirectory(dir=HERE, prefix="corpus.") as work:
        print(f"fetching {' '.join(PACKAGES)}")
        done = subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=work)
        if done.returncode != 0:
            sys.exit("corpus.py: apt-get could not fetch the packages; run 'apt-get update', or give saes.py a corpus of your own (--corpus)")
        for package in sorted(glob.glob(os.path.join(work, "*.deb"))):
            subprocess.run(["dpkg-deb", "-x", package, os.path.join(work, "root")], check=True)
            os.remove(package)
        found = list(texts(os.path.join(work, "root")))
        random.shuffle(found)
        seen, written = set(), {}
        with open(os.path.join(work, "corpus.jsonl"), "w", encoding="utf-8") as out:
            for number, (domain, text) in enumerate(found):
                if text[:200] in seen or written.get(domain, 0) > MOST:
                    continue
                seen.add(text[:200])
                written[domain] = written.get(domain, 0) + len(text)
                out.write(json.dumps({"id": f"d{number}", "text": text, "domain": domain}, ensure_ascii=False) + "\n")
        os.replace(os.path.join(work, "corpus.jsonl"), OUT)
    print(f"{OUT}: {len(seen)} passages, characters by domain: {written}")


main()
