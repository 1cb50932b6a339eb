"""Asked of two or three layers of a cross-encoder: 0.98 of its nDCG@10 at twice its speed, and as int8 at
three times. Three of six layers alone are never twice as fast, so a third of their neurons goes, too.
benchmarks/LOG.md says how much of that has been seen.

The teacher is made by ``benchmarks/make_cross_encoder.py`` on the questions of three in four articles of
xquad (``RAGDISTILL_TEST_DATA``), and measured on the others, reranking MiniLM's first 20. Distillation
learns from the questions that the teacher has learnt from and from pieces of documents. Speeds are
ratios of one run, of a hundred candidates from their texts.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.common import data_folder
from benchmarks.make_cross_encoder import Recipe, make, pieces
from benchmarks.quality import write
from benchmarks.rerankers import measure

BOUNDS = ("--ways", "8", "--train-items", "900")
"""What two cores score and learn in half an hour."""


def main() -> None:
    """Print what each student keeps, and how fast it is; what is not known here goes to the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--teacher", type=Path, help="where it is, or is to be left")
    parser.add_argument("--layers", nargs="*", default=["3"])
    parser.add_argument("--neurons", default="1024", help="of 1,536 in each layer")
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
        words += ["--store", asked.store or f"{scratch}/store", *BOUNDS, *others]
        for layers in asked.layers:
            out = f"{scratch}/layers-{layers}"
            student = ["--student", "cross-encoder", "--student-layers", layers]
            student += ["--student-intermediate", asked.neurons]
            print(measure([*words, *student, "--out", out]), flush=True)


if __name__ == "__main__":
    main()
