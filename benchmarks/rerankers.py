"""Asked of students of SmolLM2-135M-Instruct, fused with MiniLM, on pydocs, candidates MiniLM's first 20: a
ColBERT keeps 0.98 of its nDCG@10 and 0.8 of its lift and reranks a hundred candidates 50 times as fast (p50), a
bi-encoder keeps 0.95 at 100 times. benchmarks/LOG.md says how much of that has been seen.

Options that are not known here go to ``ragdistill reranker``. Speeds are ratios of one run.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from click.testing import CliRunner

from benchmarks.common import seconds
from ragdistill.cli import main as command

TEACHER = "SmolLM2-135M-Instruct"


def main() -> None:
    """Print what each student keeps, and how fast it is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--students", nargs="*", default=["colbert", "bi-encoder"])
    parser.add_argument("--queries", type=int, default=300, help="judged ones, at most")
    asked, others = parser.parse_known_args()
    words = ["--teacher", TEACHER, "--student-model", "MiniLM", "--data", "pydocs"]
    words += ["--eval-queries", str(asked.queries), *others]
    with tempfile.TemporaryDirectory() as scratch:
        for student in asked.students:
            out = f"{scratch}/{student}"
            print(measure([*words, "--student", student, "--out", out]), flush=True)


def measure(words: Sequence[str]) -> str:
    """One run, in words."""
    found = []
    line = ["reranker", "--json", *words]
    minutes = seconds(lambda: found.append(CliRunner().invoke(command, line))) / 60
    assert found[0].exit_code == 0, found[0].output
    report = json.loads(found[0].stdout)
    row, data = report["quality"]["nDCG@10"], report["data"]
    exports = report.get("exports", {}).items()
    parts = [
        f"{report['student']['name']}: {data['documents']} documents, {data['queries']} queries",
        f"nDCG@10 {row['first_stage']:.4f}, teacher {row['teacher']:.4f}",
        told(report, "student"),
        *(told(report, name) for name, each in exports if "quality" in each),
        f"{minutes:.0f} minutes in all",
    ]
    return "; ".join(parts)


def told(report: Mapping[str, Any], name: str) -> str:
    """What one system keeps, and how fast it is."""
    export = report.get("exports", {}).get(name, {})
    row = export.get("quality", report["quality"])["nDCG@10"]
    share, (low, high) = row["lift"]["share"], row["ci95"]
    words = [f"{name} kept {row['retention']:.4f} ({low:.3f} to {high:.3f})"]
    if share is not None:
        words.append(f"{share:.2f} of the lift")
    if export:
        words.append(f"{export['recipe']}{'' if export.get('passed', True) else ', failed'}")
    words += [f"not {each['recipe']}: {each['reasons']}" for each in export.get("attempts", ())]
    rates = report.get("speed", {})
    if name in rates:
        words.append(f"{rates['teacher']['p50_ms'] / rates[name]['p50_ms']:.2f} times")
    return ", ".join(words)


if __name__ == "__main__":
    main()
