"""Real weights: MiniLM's stack against one whose embedder or reranker was spoilt; and one killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from rag_helpers import write_stack
from ragdistill.data.loading import load
from ragdistill.data.sampling import sample
from ragdistill.data.splits import choose
from ragdistill.models.resolve import resolve
from ragdistill.rag.compare import Comparison, compare
from ragdistill.training.preparing import keep_some

pytestmark = pytest.mark.e2e
DOCUMENTS, QUERIES = 150, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of pydocs, MiniLM with three of its layers, and two rerankers of MiniLM: good and shuffled."""
    made = tmp_path_factory.mktemp("minilm")
    collection = load("pydocs")
    name, judged = choose(collection)
    queries = sample(list(collection.judged(name)), QUERIES, 0, key=lambda query: query.id)
    wanted = {document for query in queries for document in judged[query.id]}
    others = [document for document in collection.documents if document.id not in wanted]
    documents = [
        *(document for document in collection.documents if document.id in wanted),
        *sample(others, DOCUMENTS, 0, key=lambda document: document.id),
    ]
    write(made / "data", documents, queries, judged)
    path = str(resolve("MiniLM").path)
    small = SentenceTransformer(path, device="cpu")
    keep_some(small, "3")
    small.save(str(made / "small"))
    for run, spoilt in (("good", False), ("shuffled", True)):
        model = SentenceTransformer(path, device="cpu")
        if spoilt:
            shuffle(model)
        model.save(str(made / run / "student"))
        state = {"schema": 1, "component": "reranker", "config": {"student": "bi-encoder"},
                 "stages": {"train": {"state": "done"}}}  # fmt: skip
        (made / run / "run.json").write_text(json.dumps(state))
    return made


def write(folder: Path, documents: Any, queries: Any, judged: Any) -> None:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": d.id, "title": d.title, "text": d.text} for d in documents]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": q.id, "text": q.text} for q in queries]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = {d.id for d in documents}
    lines = [
        f"{q.id}\t{d}\t{grade}\n" for q in queries for d, grade in judged[q.id].items() if d in kept
    ]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def shuffle(model: SentenceTransformer) -> None:
    """Put the weights of every matrix in another order."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))


def stack(folder: Path, name: str, embedder: str, reranker: str) -> Path:
    return write_stack(
        folder / f"{name}.yaml",
        embedder={"model": embedder, "k": 20},
        reranker={"model": reranker, "k_in": 20, "k_out": 10},
    )


def test_the_shuffled_part_is_named(folder: Path) -> None:
    teacher = stack(folder, "teacher", "MiniLM", "good")
    student = stack(folder, "student", "small", "shuffled")
    report = compare(Comparison(teacher, student, str(folder / "data"), folder / "run"))
    cells = {name: cell["quality"]["nDCG@10"] for name, cell in report["rag"]["cells"].items()}
    assert cells["TS"] < 0.6 * cells["TT"]
    assert cells["ST"] > 0.7 * cells["TT"]
    parts = report["rag"]["faults"]["parts"]
    assert parts["reranker"]["queries"] > 2 * parts["embedder"]["queries"]
    assert report["rag"]["calls"]["seconds"]["times"] <= 2.5


# What stands on the disk decides, not a clock: it dies as the stage's journal takes a batch.
_DYING = """
import os, signal, sys
from ragdistill.cli import main
from ragdistill.signals.journal import Journal
append, stage = Journal.append, sys.argv.pop(1)
def last(self, batch):
    append(self, batch)
    if self.path.parent.parent.name == stage:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.append = last
main()
"""


def test_killed_and_started_again_it_says_the_same(folder: Path) -> None:
    teacher = stack(folder, "one", "MiniLM", "good")
    student = stack(folder, "two", "small", "good")
    whole = compare(Comparison(teacher, student, str(folder / "data"), folder / "whole"))
    out = folder / "killed"
    command = ["rag", "compare", str(teacher), str(student), "--data", str(folder / "data")]
    command += ["--out", str(out), "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for stage in ("vector", "text", "score"):
        dying = [sys.executable, "-c", _DYING, stage, *command]
        died = subprocess.run(dying, env=environment, check=False, capture_output=True)
        assert died.returncode == -signal.SIGKILL, died.stderr
    again = [sys.executable, "-m", "ragdistill", *command]
    done = subprocess.run(again, env=environment, check=True, capture_output=True)
    assert untimed(json.loads(done.stdout)) == untimed(whole)


def untimed(report: dict[str, Any]) -> dict[str, Any]:
    cells = {
        name: {key: cell[key] for key in ("parts", "quality", "errors")}
        for name, cell in report["rag"]["cells"].items()
    }
    return {"quality": report["quality"], "cells": cells, "faults": report["rag"]["faults"]}
