"""What the terms beside a generator's answers do to it, each at the same budget: the held-out loss of the answers
and contexts without the terms, KL and top-1 agreement with the teacher, and token F1 against the plain student's
on the same questions. Of training with int8's rounding: what ctranslate2 int8 loses of either student.

Options that are not known here go to ``ragdistill generator``. benchmarks/LOG.md says what has been seen.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from benchmarks.common import data_folder, seconds
from benchmarks.generators import TEACHER
from ragdistill.cli import main as command
from ragdistill.export.causal.forms import export_all
from ragdistill.export.causal.parity import Reference, ReplyResult
from ragdistill.export.causal.runner import TorchCausal
from ragdistill.metrics.answers import token_f1
from ragdistill.metrics.bootstrap import resample
from ragdistill_generator import evaluation, exporting
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student

PLAIN, ROUNDED = "plain", "qat"
WAYS: Mapping[str, Sequence[str]] = {
    PLAIN: (),
    "feature": ("--feature", "1"),
    "feature learned": ("--feature", "1", "--layer-map", "learned"),
    "attention": ("--attention", "1"),
    "mtp": ("--mtp", "1"),
    ROUNDED: ("--qat",),
}
WEIGHTS: Mapping[str, float] = {"feature": 1.0, "attention": 1.0, "mtp": 0.3}
INT8 = "ctranslate2-int8"


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--layers", default="24")
    parser.add_argument("--answers", type=int, default=48, help="tokens of an answer")
    parser.add_argument("--out", help="where runs are kept")
    asked, others = parser.parse_known_args()
    data = data_folder()
    if data is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    words = ["--teacher", TEACHER, "--data", f"{data}/xquad", "--student-layers", asked.layers]
    words += ["--answer-tokens", str(asked.answers), *others]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {way: Path(asked.out or scratch) / way.replace(" ", "-") for way in asked.ways}
        for way, folder in folders.items():
            line = [*words, *WAYS[way], "--out", str(folder), "--stages", "collect,train,evaluate"]
            print(f"{way}: {measure(line, folder, folders.get(PLAIN))}", flush=True)
            if way in (PLAIN, ROUNDED):
                print(f"{way} as {INT8}: {told(rounded(folder))}", flush=True)


def measure(words: Sequence[str], folder: Path, plain: Path | None) -> str:
    """One run, in words."""
    found: list[Any] = []
    line = ["generator", "--json", *words]
    minutes = seconds(lambda: found.append(CliRunner().invoke(command, line))) / 60
    assert found[0].exit_code == 0, found[0].output
    report = json.loads(found[0].stdout)
    told = [
        f"{report['data']['train']['learnt']} answers learnt",
        f"held-out loss without terms {held_out(report):.4f}",
        *(f"{name} {report['agreement'][name]:.4f}" for name in ("kl", "top1")),
        f"F1 {f1_of(folder).mean():.3f} on {len(f1_of(folder))} questions",
    ]
    if plain is not None and plain != folder:
        more = f1_of(folder) - f1_of(plain)
        low, high = np.quantile(resample((more,), np.mean, seed=0), (0.025, 0.975))
        told.append(f"{more.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    return "; ".join([*told, f"{minutes:.1f} minutes"])


def held_out(report: Mapping[str, Any]) -> float:
    """The best held-out loss, less what the terms add to it; of int8 with its rounding."""
    rows = [row for row in report["training"]["losses"] if "held_out" in row]
    best = min(rows, key=lambda row: row["held_out"])
    added = sum(weight * best.get(name, 0.0) for name, weight in WEIGHTS.items())
    return float(best["held_out"] - added)


def f1_of(folder: Path) -> Any:
    """Token F1 of each question that has an answer, [q]."""
    cases, said = evaluation.kept(folder, "student")
    known = [
        (text, case.references) for case, text in zip(cases, said, strict=True) if case.references
    ]
    return token_f1(*zip(*known, strict=True))


def rounded(folder: Path) -> ReplyResult:
    """The student in int8 held against itself, before any fallback."""
    saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))["config"]
    known = {
        field: saved[field] for field in GeneratorConfig.__dataclass_fields__ if field in saved
    }
    config = GeneratorConfig(**known)
    setup = Setup(config, told=True, own=None)
    student = Student.load(folder / "student", "cpu")
    judge = exporting.Judge(folder, student.tokenizer, config.seed)
    model = TorchCausal(student.network, student.tokenizer)
    prompts = [setup.prompter.encode(case).ids for case in judge.cases]
    reference = Reference(model, prompts, config.answer_tokens, judge)
    made = export_all(
        folder / "student", folder / "export", reference, source_digest="", kinds=(INT8,)
    )[INT8]
    return made.failed[0][1] if made.failed else made.result


def told(result: ReplyResult) -> str:
    """It in words."""
    return (
        f"KL {result.kl:.4f}, the same next token {result.agreement:.4f} of {result.tokens}, the same reply "
        f"{result.same_replies:.3f}, F1 {result.quality_difference:+.4f}"
    )


if __name__ == "__main__":
    main()
