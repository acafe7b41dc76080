"""What does a match depend on what a row is, and on how its tokens are pooled? One pair of dataflows/smollm2-gemma3.toml over one text.

    data/real/fetch.sh && data/real/corpus.py && data/real/saes.py      # once
    python benches/peers/pooling.py [--binary target/release/cognate] [--rows 30000] [--characters 500] [--work runs/pooling]

The text is the beginnings (`--characters` of each) of documents that lie evenly over the corpus, as many as give about `--rows` pieces that both
tokenizers share; it is the same for every run. One run for each kind of row and each way in which latents are pooled, without readout and maps, and
finished runs are kept: the same command goes on. Needs pyarrow. Writes Markdown to standard output, chance in brackets.
"""

import argparse
import json
import os
import sys
import time
import tomllib

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
sys.path.insert(0, os.path.join(HOME, "python/src"))
PAIR = ["smollm2/resid_post.9", "gemma3/resid_post.5"]
# a piece that both tokenizers share, on average, in characters
PIECE = 4.6


def text(source, out, rows, characters):
    """Writes the text once; gives back how many documents it is of."""
    with open(source, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    n = max(1, round(rows * PIECE / characters))
    kept = [records[k * len(records) // n] for k in range(n)]
    with open(out, "w", encoding="utf-8") as file:
        for record in kept:
            file.write(json.dumps({**record, "text": record["text"][:characters]}) + "\n")
    return n


def flow(corpus, unit, pool):
    with open(os.path.join(HOME, "dataflows/smollm2-gemma3.toml"), "rb") as file:
        found = tomllib.load(file)
    found["name"] = f"pooling-{unit}-{pool}"
    found["corpus"]["files"] = [corpus]
    found["corpus"]["max_tokens"] = 0
    found["saes"] = {site: sae for site, sae in found["saes"].items() if site in PAIR}
    found["compare"] = {"pairs": [PAIR], "pool": {"latents": pool}, **({"align": "span"} if unit == "piece" else {"unit": unit})}
    del found["estimate"]["activation_measures"]
    return found


def number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}".replace(",", " ")


def line(unit, pool, pair):
    def beside(name, chance):
        return f"{number(pair[name])} ({number(pair[chance])})"

    cells = [
        unit,
        pool,
        number(pair["tokens"]),
        f"{number(pair['n_alive_source'])}, {number(pair['n_alive_target'])}",
        beside("mean_best_correlation_forward", "null_mean_best_correlation_forward"),
        beside("n_mutual", "n_mutual_null"),
        beside("n_mutual_above_chance", "n_mutual_above_chance_null"),
        f"{number(pair['n_mutual_within'])} of {number(pair['n_mutual_given'])} ({number(pair['n_mutual_within_null'])})",
        beside("n_kept", "n_kept_null"),
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--characters", type=int, default=500)
    parser.add_argument("--work", default=os.path.join(HOME, "runs/pooling"))
    parser.add_argument("--units", default="piece,word,sentence,document")
    parser.add_argument("--pools", default="max,last,mean,sum")
    args = parser.parse_args()
    os.environ["COGNATE_BINARY"] = os.path.abspath(args.binary)
    import cognate

    work = os.path.abspath(args.work)
    os.makedirs(work, exist_ok=True)
    os.chdir(HOME)
    corpus = os.path.join(work, "text.jsonl")
    n = text(os.path.join(HOME, "data/real/corpus.jsonl"), corpus, args.rows, args.characters)
    print(f"The first {args.characters} characters of {n} documents.\n")
    print("| row | latents | rows | alive | mean best r | mutual | above | given the text | kept |\n" + "| --- " * 9 + "|", flush=True)
    for unit in args.units.split(","):
        for pool in args.pools.split(","):
            started = time.monotonic()
            run = cognate.run(flow(corpus, unit, pool), out=os.path.join(work, f"{unit}-{pool}"), progress=False)
            (pair,) = run.pairs().to_pylist()
            print(line(unit, pool, pair), flush=True)
            print(f"{unit} {pool}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
