"""All four parts with tiny models: each taught, served and compared."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from answer_helpers import save_answerer
from conversation_helpers import rows, write
from rag_helpers import write_stack
from ragdistill.cli import main
from tiny_models import save_tiny
from tiny_scorers import save_cross_encoder

ROLES = ("embedder", "reranker", "rewriter", "generator")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of tiny teachers, data with conversations and answers, and what is said of the students."""
    made = tmp_path_factory.mktemp("cascade")
    documents, queries, judged = rows(20, 3)
    for query, document in zip(queries, documents, strict=True):
        query["answers"] = [document["text"].split()[-1]]
    write(made / "data", documents, queries, judged)
    save_tiny(made / "embedder", layers=2)
    save_cross_encoder(made / "pairs")
    save_answerer(made / "writer")
    write_stack(
        made / "stack.yaml",
        rewriter={"model": "writer", "rewrite_tokens": 8},
        embedder={"model": "embedder", "k": 12},
        reranker={"model": "pairs", "k_in": 4, "k_out": 3},
        generator={"model": "writer", "contexts": 2, "answer_tokens": 4, "window": 512},
    )
    quick = {"epochs": 1, "lr": 1e-3}
    write_stack(
        made / "students.yaml",
        embedder=quick,
        reranker={**quick, "student": "bi-encoder", "student_model": str(made / "embedder"),
                  "train_items": 12, "ways": 3},
        rewriter={**quick, "student_model": str(made / "embedder"), "label_weight": 0},
        generator={**quick, "train_items": 12, "prune": "even"},
    )  # fmt: skip
    return made


def run(folder: Path, *more: str, out: str = "all") -> Result:
    words = ["distill-all", str(folder / "stack.yaml"), "--data", str(folder / "data")]
    words += ["--students", str(folder / "students.yaml"), "--out", str(folder / out)]
    return CliRunner().invoke(main, [*words, *more])


def config(folder: Path, role: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "all" / role / "run.json").read_text())["config"]
    return found


def test_four_tiny_parts_are_planned_distilled_and_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGDISTILL_HOME", str(folder / "home"))
    planned = run(folder, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    parts = json.loads(planned.stdout)["plan"]["extra"]["parts"]
    assert list(parts) == list(ROLES)
    assert all(part["items"] for part in parts.values())
    assert not (folder / "all").exists()
    result = run(folder, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["rag"]["swapped"]) == set(ROLES)
    assert len(report["rag"]["cells"]) == 16
    assert {"nDCG@10", "F1"} <= report["quality"].keys()
    assert report["verdict"]["decision"] in ("go", "no-go", "inconclusive")
    embedder = str(folder / "all/embedder")
    assert config(folder, "embedder")["student_layers"] == "1"
    assert config(folder, "reranker")["candidates_from"] == embedder
    assert config(folder, "reranker")["candidates"] == 4
    assert config(folder, "rewriter")["embedder"] == embedder
    assert config(folder, "generator")["contexts_from"] == str(folder / "all/contexts.trec")
    assert (config(folder, "generator")["contexts"], config(folder, "generator")["window"]) == (
        2,
        512,
    )
    told = json.loads((folder / "all/generator/run.json").read_text())
    assert told["inputs"]["contexts"]
    # As good as its gates say, a student is served as the export that is fastest.
    stack = yaml.safe_load((folder / "all/student.yaml").read_text())
    assert all(stack[role]["model"].startswith(role) for role in ROLES)
    again = run(folder, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["quality"] == report["quality"]
    assert "collect (" not in again.stderr
