"""Asked of a student that learns to reason before it answers (``--method cot``): on questions that take two or
three sums over numbers in their context, it is right more often than one of the same size that learns the
answers alone (``--method labels``) with as many tokens read in training.

Data, reasoning and models are made in code, seeded; no tuple of numbers is in both splits. Both students
begin as the same random weights. Beside it: what the sieve for a teacher's reasoning makes of this reasoning,
whole and damaged.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.toy_shop import Asked, save_data, save_model, shops
from ragdistill.cli import main as command
from ragdistill.metrics.answers import exact_match
from ragdistill.metrics.bootstrap import resample
from ragdistill.writing import Written
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter, ReasoningPrompter
from ragdistill_generator.reasoning import Reasoned, sift

TESTED = 200
"""Contexts of the test split."""
_WORDS = "Context: Question: [ 1 ]"


def main() -> None:
    """Print how often both are right, and the interval of the difference."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--contexts", type=int, default=4000)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", default="2e-3")
    parser.add_argument("--questions", default="300")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"sieve: {sieved(asked.seed)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, asked.contexts, asked.layers, asked.seed)
        often = ("--lr", asked.lr, "--eval-queries", asked.questions, "--seed", str(asked.seed))
        reasoned = learn(folder, "cot", asked.epochs, *often, "--rationale-tokens", "48")
        print(reasoned, flush=True)
        once = reasoned.tokens / asked.epochs - of_rationales(folder, reasoned.items)
        epochs = round(reasoned.tokens / once, 2)
        answered = learn(folder, "labels", epochs, *often)
        print(answered, flush=True)
    print(f"cot less labels: {difference(answered.right, reasoned.right, asked.seed)}", flush=True)


def make(folder: Path, contexts: int, layers: int, seed: int) -> None:
    """The data, the student's beginning, and a teacher of one layer that knows nothing: a run asks some."""
    save_data(folder / "data", train=contexts, test=TESTED, seed=seed)
    texts = [_WORDS]
    for name in ("corpus", "queries"):
        rows = map(json.loads, (folder / f"data/{name}.jsonl").read_text("utf-8").splitlines())
        texts += [text for row in rows for text in (row["text"], row.get("rationale", ""))]
    for kind in (Prompter, ReasoningPrompter):
        texts += kind(None, 2, 1, "short").words
    for name, depth in (("student", layers), ("teacher", 1)):
        save_model(folder / name, texts, layers=depth, seed=seed)


class Learnt:
    """A student's run."""

    def __init__(self, method: str, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]):
        self.method = method
        self.tokens: int = report["stages"]["train"]["tokens"]
        self.items: int = report["stages"]["train"]["items"]
        self.minutes = report["stages"]["train"]["seconds"] / 60
        self.replies: Mapping[str, int] = (report.get("replies") or {}).get("student") or {}
        answers, known = ([row[key] for row in rows] for key in ("answer", "references"))
        self.right: NDArray[np.float64] = exact_match(answers, known)
        """``[q]``"""
        kinds = [_kind(row["question"]) for row in rows]
        self.by_kind = {
            kind: float(np.mean([r for r, k in zip(self.right, kinds, strict=True) if k == kind]))
            for kind in sorted(set(kinds))
        }

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {right:.3f}" for kind, right in self.by_kind.items())
        return (
            f"{self.method}: right {self.right.mean():.3f} of {len(self.right)} ({kinds}); "
            f"{self.tokens:,} tokens read in training, {self.items:,} answers, "
            f"{self.minutes:.1f} minutes; replies {dict(self.replies) or 'all answers'}"
        )


def _kind(question: str) -> str:
    return next(word for word in ("together", "left", "then") if word in question)


def learn(folder: Path, method: str, epochs: float, *more: str) -> Learnt:
    """A run of the real command."""
    out = folder / method
    words = ["generator", "--method", method, "--data", f"{folder}/data", "--out", str(out)]
    words += ["--teacher", f"{folder}/teacher", "--student", f"{folder}/student"]
    words += ["--answers", "gold", "--answer-tokens", "8", "--epochs", str(epochs), *more]
    words += ["--batch-tokens", "1024", "--store", f"{folder}/store"]
    words += ["--stages", "collect,train,evaluate", "--json"]
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 0, found.output
    lines = (out / "answers/student.jsonl").read_text("utf-8").splitlines()
    return Learnt(method, json.loads(found.stdout), [json.loads(line) for line in lines])


def of_rationales(folder: Path, answers: int) -> float:
    """Tokens that so many rationales are, with the tags around them and the answers."""
    rows = map(json.loads, (folder / "data/queries.jsonl").read_text("utf-8").splitlines())
    more = np.mean([len(row["rationale"].split()) + 4 for row in rows if "train" in row["_id"]])
    return float(more) * answers


def difference(one: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> str:
    """By how much ``other`` is right more often, with the paired bootstrap's 95 % interval."""
    draws = resample((one, other), lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis), seed)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{other.mean() - one.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def sieved(seed: int) -> str:
    """Shares of reasoning that a teacher's would be learnt of, without the right answer at hand."""
    asked = [
        (Case(f"{n}.{item.text}", item.text, (text,)), item)
        for n, (text, items) in enumerate(shops("train", 50, 4, seed))
        for item in items
    ]
    damage = {
        "whole": [item for _, item in asked],
        "of another context": [item for _, item in asked[5:] + asked[:5]],
        "with a wrong sum": [_off(item, in_sum=True) for _, item in asked],
        "with another answer": [_off(item, in_sum=False) for _, item in asked],
    }
    parts = []
    for name, items in damage.items():
        replies = [
            (case, Written(Reasoned(item.rationale, item.answer).text))
            for (case, _), item in zip(asked, items, strict=True)
        ]
        kept = [isinstance(found, Reasoned) for found in sift(replies, support=0.5, least_f1=0.5)]
        parts.append(f"{np.mean(kept):.2f} {name}")
    return f"learnt of {len(asked)} reasonings " + ", ".join(parts)


def _off(item: Asked, *, in_sum: bool) -> Asked:
    wrong = str(int(item.answer) + 1)
    if not in_sum:
        return Asked(item.text, item.numbers, item.rationale, wrong)
    told = item.rationale.removesuffix(f"= {item.answer} .") + f"= {wrong} ."
    return Asked(item.text, item.numbers, told, wrong)


if __name__ == "__main__":
    main()
