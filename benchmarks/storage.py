"""Claim: with ``--dims``, a document's vector in 32 bytes instead of 1,536 (256 dimensions, binary,
rescored) keeps 0.97 of the float32 vectors' nDCG@10 on average, and the report shows each step.

The student is three layers of MiniLM; the collections are those of ``benchmarks/quality.py``.
"""

import argparse
import re
import sys
from importlib.resources import files
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import data_folder
from benchmarks.quality import collections, place
from benchmarks.students import report_of
from ragdistill.data.collection import Collection
from ragdistill.metrics.retrieval import HEADLINE
from ragdistill.report.storage import Row, plot, rows_of

Entry = dict[str, Any]


def main() -> None:
    """Print one table of bytes per document against nDCG@10, means over the collections."""
    asked = _arguments()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    chosen = [c for c in collections(folder) if not asked.only or c.name in asked.only]
    if not chosen:
        sys.exit(f"--only: none of {', '.join(c.name for c in collections(folder))}")
    measured = [measure(collection, asked.keep) for collection in chosen]
    rows = rows_of([together(entries) for entries in zip(*measured, strict=True)], HEADLINE)
    tell(rows, [collection.name for collection in chosen])
    if asked.plot:
        asked.plot.write_text(standalone(plot(rows, HEADLINE)), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--plot", type=Path, help="an SVG to draw the Pareto front into")
    parser.add_argument("--only", action="append", help="a collection, by name; repeatable")
    parser.add_argument("--keep", type=Path, help="where runs stay, and are not run again")
    return parser.parse_args()


def measure(collection: Collection, keep: Path | None) -> list[Entry]:
    """Distil three layers with prefixes; the report's entries of whatever way was measured."""
    with place(collection, keep) as folder:
        report = report_of(folder, "dims", "--stages", "collect,train,evaluate")
    return [entry for entry in report["storage"] if not entry.get("reason")]


def together(entries: tuple[Entry, ...]) -> Entry:
    """One way on all collections: means, and what each collection kept."""
    qualities = [entry["quality"][HEADLINE] for entry in entries]
    return {
        **{key: entries[0][key] for key in ("vectors", "index", "dimensions")},
        "bytes_per_document": mean(entry["bytes_per_document"] for entry in entries),
        "quality": {HEADLINE: {"student": mean(row["student"] for row in qualities)}},
        "kept": [row["retention"] for row in qualities],
        "ndcg_difference": mean(entry["ndcg_difference"] for entry in entries),
    }


def tell(rows: list[Row], names: list[str]) -> None:
    """The table, in Markdown; what is on the front is marked."""
    head = ["vectors", "dimensions", "index", "bytes", HEADLINE, "against exact", "kept", *names]
    print("|", " | ".join([*head, "front"]), "|")
    print("|" + "---|" * (len(head) + 1))
    for row in rows:
        entry = row.entry
        kept = [mean(entry["kept"]), *entry["kept"]]
        cells = [entry["vectors"], str(entry["dimensions"]), entry["index"]]
        cells += [f"{entry['bytes_per_document']:,.0f}", f"{row.quality['student']:.4f}"]
        cells += [f"{entry['ndcg_difference']:+.4f}", *(f"{share:.3f}" for share in kept)]
        print("|", " | ".join([*cells, "*" if row.best else ""]), "|")


def standalone(svg: str) -> str:
    """The page's plot as a file of its own, in the page's light colours."""
    style = (files("ragdistill.report") / "templates/style.css").read_text(encoding="utf-8")
    light = style.partition("@media")[0]
    colours = dict(re.findall(r"(--[\w-]+): (#\w+)", light))
    drawn = re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], svg)
    opening = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
    return drawn.replace("<svg ", opening, 1)


if __name__ == "__main__":
    main()
