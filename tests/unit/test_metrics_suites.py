"""mteb measures what the run measures, where both can."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ragdistill.cli import main
from ragdistill.metrics import suites
from tiny_models import save_searched, save_tiny

mteb = pytest.importorskip("mteb")
AbsTaskRetrieval = pytest.importorskip("mteb.abstasks").AbsTaskRetrieval


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A tiny model that has something to say before a query, and before a document."""
    return save_tiny(
        tmp_path / "teacher",
        prompts={"query": "what is the old song of ", "document": "the queen of the blue sea "},
    )


def _run(folder: Path, teacher: Path, *more: str) -> Result:
    data = folder / "data"
    if not data.exists():
        save_searched(data, documents=40, queries=10)
    words = ["embedder", "--teacher", str(teacher), "--student-layers", "1", "--data", str(data)]
    words += ["--out", str(folder / "run"), "--store", str(folder / "store"), "--epochs", "1"]
    words += ["--stages", "collect,train,evaluate", "--store-dtype", "float32", *more]
    return CliRunner().invoke(main, words)


def test_a_folder_as_a_task_gives_the_figures_of_the_run(tmp_path: Path, teacher: Path) -> None:
    result = _run(tmp_path, teacher, "--mteb", str(tmp_path / "data"), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (name, row), ours = next(iter(report["mteb"].items())), report["quality"]["nDCG@10"]
    assert (name, row["main_score"], row["splits"]) == ("data", "ndcg_at_10", ["test"])
    assert row["revision"] == report["data"]["digest"]
    for system in ("teacher", "student"):
        # mteb keeps five decimals.
        assert row[system] == pytest.approx(ours[system], abs=1e-5), system
    assert row["teacher"] != row["student"]
    assert row["retention"] == pytest.approx(row["student"] / row["teacher"])
    page = (tmp_path / "run/report.html").read_text()
    assert '<section id="mteb">' in page
    assert "mteb task" in CliRunner().invoke(main, ["report", "show", str(tmp_path / "run")]).output


def test_results_are_mtebs_own_and_what_is_there_is_not_measured_again(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(tmp_path, teacher, "--mteb", str(tmp_path / "data")).exit_code == 0
    results = mteb.ResultCache(tmp_path / "run" / suites.FOLDER).load_results()
    found = {item.model_name: item.task_results[0] for item in results.model_results}
    report = json.loads((tmp_path / "run/report.json").read_text())
    for system in ("teacher", "student"):
        task = found[f"ragdistill/{system}"]
        assert task.get_score() == pytest.approx(report["mteb"]["data"][system])

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(AbsTaskRetrieval, "evaluate", refuse)
    again = _run(tmp_path, teacher, "--mteb", str(tmp_path / "data"), "--eval-queries", "5")
    assert again.exit_code == 0, again.output
    assert "evaluate (" in again.stderr


def test_data_that_cannot_be_had_is_said_in_one_line_and_the_run_goes_on_without(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no Hub here")

    monkeypatch.setattr(AbsTaskRetrieval, "load_data", unreachable)
    result = _run(tmp_path, teacher, "--mteb", "scifact")
    assert result.exit_code == 2
    (said,) = [line for line in result.output.splitlines() if line.startswith("Error")]
    assert "--mteb: the data of task 'SciFact' cannot be had: no Hub here; get it" in said
    again = _run(tmp_path, teacher)
    assert again.exit_code == 0, again.output
    assert "train (" not in again.stderr


def test_a_task_of_another_kind_is_measured_by_its_own_score(tmp_path: Path, teacher: Path) -> None:
    from mteb.mocks import MockSTSTask
    from sentence_transformers import SentenceTransformer

    models = [SentenceTransformer(str(teacher), device="cpu") for _ in range(2)]
    systems = {
        name: suites.System(model, name * 10)
        for name, model in zip(("teacher", "student"), models, strict=True)
    }
    found = suites.evaluate(systems, [MockSTSTask()], tmp_path)
    (row,) = found.values()
    assert row["main_score"] == "cosine_spearman"
    assert row["teacher"] == row["student"]
    assert row["retention"] in (None, 1.0)
