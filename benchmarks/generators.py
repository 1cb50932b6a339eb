"""Asked of half of SmolLM2-135M-Instruct's layers on xquad, whose questions are divided by paragraph: 0.9 of the
teacher's F1, 1.8 times its tokens a second in transformers, and 4 times as ctranslate2 int8. And which method is
worth it at the same budget. benchmarks/LOG.md says how much of that has been seen.

Options that are not known here go to ``ragdistill generator``. Speeds are ratios of one run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from ragdistill.cli import main as command

TEACHER = "SmolLM2-135M-Instruct"
WAYS: Mapping[str, Sequence[str]] = {
    "both": (),
    "logits alone": ("--alpha", "1"),
    "without contexts": ("--context-weight", "0"),
    "labels": ("--method", "labels"),
    "sequence": ("--method", "sequence"),
}
"""What is learnt: the teacher's distributions over contexts and answers with the answers, and less."""


def main() -> None:
    """Print what each way of teaching keeps, and how fast the first one's forms are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--layers", default="15")
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    words = ["--teacher", TEACHER, "--student-layers", asked.layers, "--data", f"{folder}/xquad"]
    with tempfile.TemporaryDirectory() as scratch:
        for way in asked.ways:
            line = [*words, *WAYS[way], *others, "--out", f"{scratch}/{way.replace(' ', '-')}"]
            if way != "both":
                line += ["--stages", "collect,train,evaluate"]
            print(f"{way}: {measure(line)}", flush=True)


def measure(words: Sequence[str]) -> str:
    """One run, in words."""
    found = []
    line = ["generator", "--json", *words]
    minutes = seconds(lambda: found.append(CliRunner().invoke(command, line))) / 60
    assert found[0].exit_code == 0, found[0].output
    report = json.loads(found[0].stdout)
    data = report["data"]
    return "; ".join(
        [
            f"{data['train']['learnt']} answers learnt, {data['queries']} questions",
            *told(report),
            f"{minutes:.0f} minutes in all",
        ]
    )


def told(report: Mapping[str, Any]) -> list[str]:
    """What each system keeps, and how fast it writes."""
    rates = report.get("speed") or {}
    exports = {
        name: each["quality"] for name, each in report["exports"].items() if "quality" in each
    }
    parts = []
    for name, quality in {"student": report["quality"], **exports}.items():
        row = quality["F1"]
        low, high = row["ci95"]
        part = (
            f"{name} F1 {row['student']:.3f} of {row['teacher']:.3f}, "
            f"kept {row['retention']:.3f} ({low:.3f} to {high:.3f})"
        )
        if name in rates:
            part += f", {rates[name]['per_second'] / rates['teacher']['per_second']:.1f} times"
        parts.append(part)
    return parts


if __name__ == "__main__":
    main()
