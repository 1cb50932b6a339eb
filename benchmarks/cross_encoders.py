"""Asked of two or three layers of a cross-encoder: 0.98 of its nDCG@10 at twice its speed, and as int8 at
three times. benchmarks/LOG.md says how much of that has been seen.

The teacher is made by ``benchmarks/make_cross_encoder.py`` on the questions of three in four articles of
xquad (``RAGDISTILL_TEST_DATA``), and measured on the others, reranking MiniLM's first 20. Distillation
learns from the questions that the teacher has learnt from and from pieces of documents. Speeds are
ratios of one run, of a hundred candidates from their texts.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from benchmarks.make_cross_encoder import Recipe, make, pieces
from benchmarks.quality import write
from ragdistill.cli import main as command


def main() -> None:
    """Print what each student keeps, and how fast it is; what is not known here goes to the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--teacher", type=Path, help="where it is, or is to be left")
    parser.add_argument("--layers", nargs="*", default=["3", "2"])
    parser.add_argument("--queries", type=int, default=200, help="judged ones, at most")
    parser.add_argument("--store", help="scores of runs before this one")
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    collection = pieces(folder / "xquad", queries=asked.queries)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / collection.name
        write(collection, data)
        teacher = make(collection, asked.teacher or Path(scratch) / "teacher", Recipe())
        words = ["--teacher", str(teacher), "--data", str(data), "--first-stage", "MiniLM"]
        words += ["--store", asked.store or f"{scratch}/store", *others]
        for layers in asked.layers:
            out = f"{scratch}/layers-{layers}"
            print(measure([*words, "--student-layers", layers, "--out", out]), flush=True)


def measure(words: Sequence[str]) -> str:
    """One run, in words."""
    command_line = ["reranker", "--student", "cross-encoder", "--json", *words]
    found = []
    minutes = seconds(lambda: found.append(CliRunner().invoke(command, command_line))) / 60
    assert found[0].exit_code == 0, found[0].output
    report = json.loads(found[0].stdout)
    row, data = report["quality"]["nDCG@10"], report["data"]
    parts = [
        f"{report['student']['name']}: {data['documents']} documents, {data['queries']} queries",
        f"nDCG@10 {row['first_stage']:.4f}, teacher {row['teacher']:.4f}",
        *(told(report, name) for name in ("student", *report.get("exports", ()))),
        f"{minutes:.0f} minutes in all",
    ]
    return "; ".join(parts)


def told(report: Mapping[str, Any], name: str) -> str:
    """What one system keeps, and how fast it is."""
    export = report.get("exports", {}).get(name)
    row = (report["quality"] if export is None else export["quality"])["nDCG@10"]
    share, (low, high) = row["lift"]["share"], row["ci95"]
    words = f"{name} kept {row['retention']:.4f} ({low:.3f} to {high:.3f})"
    words += "" if share is None else f", {share:.2f} of the lift"
    if export is not None:
        words += f", {export['recipe']}, {'passed' if export['passed'] else 'failed'}"
        words += "".join(
            f", not {each['recipe']}: {each['reasons']}" for each in export["attempts"]
        )
    if rates := report.get("speed"):
        words += f", {rates[name]['per_second'] / rates['teacher']['per_second']:.2f} times"
    return words


if __name__ == "__main__":
    main()
