"""Claims, on collections of 700 to 1,500 documents without a training query, each student in at most
15 minutes: the first 128 dimensions of three layers keep 0.97 of the teacher's nDCG@10, the first
64 keep 0.92; int8 of two layers of a sixth of the neurons keeps 0.95 at ten times the teacher's
documents a second; queries of an asymmetric student keep 0.98 on the teacher's index; static
students are a hundred times as fast.

The collections are cut from the sets in ``RAGDISTILL_TEST_DATA``. Times are ratios of one run.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from benchmarks.quality import collections, place
from ragdistill.cli import main as command

STUDENTS: Mapping[str, Sequence[str]] = {
    "dims": ("--student-layers", "3", "--dims", "384,256,128,64"),
    "three layers": ("--student-layers", "3"),
    "two layers": ("--student-layers", "2"),
    "two narrow layers": ("--student-layers", "2", "--student-intermediate", "256"),
    "one layer": ("--student-layers", "1"),
    "asymmetric": ("--student-layers", "3", "--asymmetric"),
    "static": ("--student", "static"),
    "contrastive": ("--student-layers", "3", "--method", "contrastive"),
    "listwise": ("--student-layers", "3", "--method", "listwise"),
    "margin-mse": ("--student-layers", "3", "--method", "margin-mse"),
}


def main() -> None:
    """Print what each student keeps of each collection, and how fast it is."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--only", nargs="*", default=["dims", "two narrow layers", "asymmetric", "static"]
    )
    parser.add_argument("--data", nargs="*", help="names of collections; all if left out")
    parser.add_argument("--keep", type=Path, help="where runs stay, and are not run again")
    asked = parser.parse_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    for collection in collections(folder):
        if asked.data and collection.name not in asked.data:
            continue
        with place(collection, asked.keep) as folder:
            for name in asked.only:
                print(f"{collection.name}, {name}: {tell(folder, name)}", flush=True)


def tell(folder: Path, student: str) -> str:
    """One run with the defaults, in words; signals are shared with the runs before it."""
    found = []
    minutes = seconds(lambda: found.append(report_of(folder, student))) / 60
    return ", ".join([*told(found[0]), f"{minutes:.0f} minutes in all"])


def report_of(folder: Path, student: str, *more: str) -> dict[str, Any]:
    """The report of a run with the defaults in a folder of ``benchmarks.quality.place``."""
    words = ["embedder", "--teacher", "MiniLM", "--data", f"{folder}/data", "--json", *more]
    words += ["--out", f"{folder}/{student}", "--store", f"{folder}/store", *STUDENTS[student]]
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 0, found.output
    report: dict[str, Any] = json.loads(found.stdout)
    return report


def told(report: Mapping[str, Any]) -> list[str]:
    """What each system of a report keeps, and how fast it is."""
    rates = report["speed"]
    systems = {"student": report["quality"]}
    systems |= {
        name: entry["quality"] for name, entry in report["exports"].items() if name in rates
    }
    parts = [
        f"{name} kept {kept(quality)} at {rates[name]['per_second'] / rates['teacher']['per_second']:.1f} times"
        for name, quality in systems.items()
    ]
    if both := report.get("asymmetric"):
        parts.append(f"documents by the student too {kept(both['both_student'])}")
    prefixes = report["prefixes"].items()
    return parts + [f"{length} dimensions {kept(row['quality'])}" for length, row in prefixes]


def kept(quality: Mapping[str, Any]) -> str:
    """Retention of nDCG@10, with its interval."""
    row = quality["nDCG@10"]
    return f"{row['retention']:.4f} ({row['ci95'][0]:.3f} to {row['ci95'][1]:.3f})"


if __name__ == "__main__":
    main()
