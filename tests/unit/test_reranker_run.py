"""Whole runs of the reranker with tiny models: every kind of teacher and student."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

from ragdistill.cli import main
from ragdistill.metrics import trec
from ragdistill.metrics.ranking import per_query
from ragdistill_reranker.token_index import CODINGS
from rerank_helpers import logit as drawn_logit
from rerank_helpers import piecemeal, report_of, reranking
from tiny_models import save_tiny
from tiny_scorers import save_cross_encoder, save_language_model

QUICK = ("--candidates", "6", "--ways", "4", "--train-items", "20", "--epochs", "3", "--lr", "1e-3")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return piecemeal(tmp_path / "data")


def run(tmp_path: Path, data: Path, *more: str, out: str = "run") -> Result:
    words = ["reranker", "--data", str(data), "--out", str(tmp_path / out), *QUICK]
    words += ["--store", str(tmp_path / "store"), "--student-model", str(tmp_path / "base")]
    if not (tmp_path / "base").exists():
        save_tiny(tmp_path / "base")
    return CliRunner().invoke(main, [*words, *more])


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("colbert", MultiVectorEncoder),
        ("bi-encoder", SentenceTransformer),
        ("cross-encoder", CrossEncoder),
    ],
)
def test_each_student_learns_of_a_cross_encoder(
    tmp_path: Path, data: Path, kind: str, cls: type
) -> None:
    teacher = ("--teacher", str(save_cross_encoder(tmp_path / "teacher")), "--student", kind)
    dims = ("--token-dims", "16") if kind == "colbert" else ()
    report = report_of(run(tmp_path, data, *teacher, *dims, "--json"))
    row = report["quality"]["nDCG@10"]
    # Anybody can recompute every figure.
    rankings = {
        name: trec.read(tmp_path / f"run/rankings/{name}.trec")
        for name in ("first_stage", "teacher", "student")
    }
    qrels = trec.read_qrels(tmp_path / "run/rankings/qrels.trec")
    for name, found in rankings.items():
        mean = np.mean(list(per_query(qrels, found, ["nDCG@10"])["nDCG@10"].values()))
        assert row[name] == pytest.approx(mean, abs=1e-9)
    listed = [{q: {d for d, _ in row} for q, row in found.items()} for found in rankings.values()]
    assert listed[0] == listed[1] == listed[2]  # all rerank the same
    assert row["lift"]["teacher"] == pytest.approx(row["teacher"] - row["first_stage"])
    losses = [each["held_out"] for each in report["training"]["losses"] if "held_out" in each]
    assert losses[-1] < losses[0]
    assert -1 <= report["agreement"]["spearman"] <= 1
    assert report["agreement"]["kl"] >= 0
    assert report["student"]["kind"] == kind
    assert report["speed"]["student"]["p50_ms"] > 0
    assert report["data"]["train"]["lists"] == 20
    cls(str(tmp_path / "run/student"), device="cpu")
    exports = {"onnx", "onnx-int8"} | ({"tokens", "colbert-ai"} if kind == "colbert" else set())
    assert set(report["exports"]) == exports
    assert report["exports"]["onnx"]["passed"]
    assert set(report["speed"]) == {"teacher", "student", "onnx", "onnx-int8"}
    codings = [row["vectors"] for row in report["storage"]]
    kept = {"colbert": list(CODINGS), "bi-encoder": ["float32"], "cross-encoder": []}
    assert codings == kept[kind]
    whole = [row for row in report["storage"] if row["vectors"] == "float32"]
    assert all(row["ndcg_difference"] == pytest.approx(0, abs=1e-9) for row in whole)
    page = (tmp_path / "run/report.html").read_text()
    assert "of the first stage" in page or "to the first stage" in page
    assert "12 items were learnt from; 8 more were held out" in page
    assert ("the candidates put in order by them" in page) == (kind != "cross-encoder")
    assert "approximate index" not in page
    use(kind, tmp_path / "run")


def use(kind: str, folder: Path) -> None:
    """The student, as the page says."""
    page = (Path(__file__).parents[2] / "docs/reranker.md").read_text(encoding="utf-8")
    section = page.partition(f"\n### {kind}\n")[2].partition("\n##")[0]
    blocks = re.findall(r"^~~~python\n(.*?)^~~~$", section, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block.replace("runs/rerank", str(folder)), "the page", "exec"), names)  # noqa: S102
        scores = np.asarray(names["scores"])
        assert scores.size > 1
        assert np.isfinite(scores).all()


def test_a_language_model_is_fused_with_the_first_stage(tmp_path: Path, data: Path) -> None:
    teacher = ("--teacher", str(save_language_model(tmp_path / "teacher")), "--token-dims", "16")
    report = report_of(
        run(tmp_path, data, *teacher, "--stages", "collect,train,evaluate", "--json")
    )
    scales = [part["scale"] for part in report["teacher"]["scores"]]
    assert scales == ["log-likelihood", "cosine"]
    assert any(part["factor"] > 0 for part in report["teacher"]["scores"])
    asked = report["stages"]["collect"]["items"]
    assert asked > 60
    again = report_of(run(tmp_path, data, *teacher, "--stages", "collect", "--json", out="other"))
    assert again["stages"]["collect"]["items"] == 0  # scoring the same pairs again is free


def test_two_teachers_are_calibrated_and_may_be_weighted(tmp_path: Path, data: Path) -> None:
    names = [str(save_cross_encoder(tmp_path / f"t{seed}", seed=seed)) for seed in (0, 1)]
    words = (
        "--teacher",
        ",".join(names),
        "--token-dims",
        "16",
        "--stages",
        "collect,train,evaluate",
    )
    report = report_of(run(tmp_path, data, *words, "--json"))
    assert [part["scale"] for part in report["teacher"]["scores"]] == ["logit", "logit"]
    given = report_of(
        run(tmp_path, data, *words, "--teacher-weights", "3,1", "--json", out="given")
    )
    assert [part["factor"] for part in given["teacher"]["scores"]] == [0.75, 0.25]
    mixed = run(tmp_path, data, *words, "--teacher-weights", "1,1,1", "--fuse", "on", out="mixed")
    assert mixed.exit_code == 2
    assert "different scales" in mixed.output
    assert not (tmp_path / "mixed/student").exists()


def test_bm25_and_rankings_of_others_give_candidates(tmp_path: Path, data: Path) -> None:
    teacher = ("--teacher", str(save_cross_encoder(tmp_path / "teacher")), "--token-dims", "16")
    short = ("--stages", "collect,train,evaluate", "--json")
    words = report_of(run(tmp_path, data, *teacher, "--first-stage", "bm25", *short))
    assert words["data"]["candidates"] == {"first_stage": "bm25", "depth": 6, "train": "bm25"}
    ranked = tmp_path / "run/rankings/first_stage.trec"
    others = ("--candidates-from", str(ranked), "--first-stage", "bm25", *short)
    taken = report_of(run(tmp_path, data, *teacher, *others, out="taken"))
    assert taken["data"]["candidates"] == {
        "first_stage": "first_stage.trec",
        "depth": 6,
        "train": "bm25",
    }
    page = (tmp_path / "taken/report.html").read_text()
    assert "first_stage.trec, 6 a query (those learnt from: bm25)" in page
    assert trec.read(tmp_path / "taken/rankings/first_stage.trec") == trec.read(ranked)
    assert taken["quality"]["nDCG@10"]["teacher"] == words["quality"]["nDCG@10"]["teacher"]


def test_a_plan_says_what_collecting_then_asks(tmp_path: Path, data: Path) -> None:
    teacher = ("--teacher", str(save_language_model(tmp_path / "teacher")), "--token-dims", "16")
    plan = report_of(run(tmp_path, data, *teacher, "--dry-run", "--json"))["plan"]
    assert plan["unit"] == "pairs"
    assert any("on 12 lists of 4, 3 times; 8 more are held out" in step for step in plan["steps"])
    assert not (tmp_path / "run").exists()
    done = report_of(run(tmp_path, data, *teacher, "--stages", "collect", "--json"))
    assert (plan["items"], plan["tokens"]) == tuple(
        done["stages"]["collect"][key] for key in ("items", "tokens")
    )
    assert plan["seconds"] > 0


def alike(query: str, document: str) -> float:
    """The share of the query's words that the document has, as a probability."""
    asked, told = set(query.split()), set(document.replace(".", "").split())
    return 0.02 + 0.96 * len(asked & told) / max(1, len(asked))


def test_an_endpoint_teaches_and_its_probabilities_become_log_odds(
    tmp_path: Path, data: Path
) -> None:
    with reranking(score=alike, fault=lambda number: "429" if number % 7 == 3 else None) as served:
        words = ("--teacher", "rerank:tiny", "--teacher-url", served.url, "--token-dims", "16")
        words = (*words, "--candidates", "40")  # all of them
        short = ("--stages", "collect,train,evaluate", "--json")
        plan = report_of(run(tmp_path, data, *words, "--dry-run", "--json"))["plan"]
        report = report_of(run(tmp_path, data, *words, *short))
        logits = run(tmp_path, data, *words, "--teacher-scale", "logit", *short, out="logits")
        cosines = run(tmp_path, data, *words, "--teacher-scale", "cosine", *short, out="cosines")
        served.score = drawn_logit
        wrong = ("--teacher-scale", "probability", "--store", str(tmp_path / "other"))
        refused = run(tmp_path, data, *words, *wrong, *short, out="refused")
    assert [part["scale"] for part in report["teacher"]["scores"]] == ["log-odds"]
    assert report["quality"]["nDCG@10"]["teacher"] > 0.9
    assert report["teacher"]["endpoint"]["texts"] >= report["stages"]["collect"]["items"]
    assert plan["items"] == report["stages"]["collect"]["items"]
    assert plan["seconds"] is None
    assert logits.exit_code == 2
    assert "those are probabilities, not logits" in logits.output
    # Cosines none of which is below 0 look like probabilities: there they are believed.
    assert [part["scale"] for part in report_of(cosines)["teacher"]["scores"]] == ["cosine"]
    assert refused.exit_code == 2
    assert "those are no probabilities" in refused.output
