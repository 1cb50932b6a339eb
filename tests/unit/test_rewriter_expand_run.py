"""Whole runs of ``--task expand`` with tiny models."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from transformers import T5ForConditionalGeneration

from chat_helpers import chatting, said
from expansion_helpers import answered, asking
from ragdistill.cli import main
from ragdistill.metrics import trec
from ragdistill.metrics.ranking import per_query
from ragdistill.rag.init import write_stacks
from ragdistill.rag.parts import understand
from ragdistill.rag.retrieval import anchored
from ragdistill_query_rewriter import scratch
from ragdistill_query_rewriter.rewriter import Rewriter
from ragdistill_query_rewriter.sequence_training import SequenceLoss
from ragdistill_query_rewriter.serving import open_rewriter
from ragdistill_query_rewriter.serving_options import RewriterOptions
from rerank_helpers import report_of
from tiny_models import save_tiny
from tiny_writers import save_writer

NO_EXPORT = ("--stages", "collect,train,evaluate")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T5 from nothing that learns in seconds."""
    sizes = {"d_model": 48, "d_ff": 64, "d_kv": 12, "num_heads": 4, "num_layers": 1}
    monkeypatch.setattr(scratch, "SIZES", scratch.SIZES | sizes | {"num_decoder_layers": 1})
    monkeypatch.setattr(scratch, "WORDS", 400)


def run(tmp_path: Path, *more: str, out: str = "run") -> Result:
    data = tmp_path / "data"
    if not data.exists():
        asking(data)
    words = ["query-rewriter", "--task", "expand", "--data", str(data), "--out"]
    words += [str(tmp_path / out), "--store", str(tmp_path / "store"), "--student-model", "scratch"]
    quick = ["--epochs", "30", "--lr", "5e-3", "--feedback-terms", "3", "--batch-tokens", "512"]
    return CliRunner().invoke(main, [*words, *quick, *more])


def test_a_tiny_t5_learns_what_feedback_finds(tmp_path: Path) -> None:
    plan = json.loads(run(tmp_path, "--dry-run", "--json").stdout)["plan"]
    assert not (tmp_path / "run").exists()
    report = report_of(run(tmp_path, "--json"))
    assert plan["items"] == report["stages"]["collect"]["items"] > 0
    assert report["teacher"]["name"] == "rm3"
    row = report["quality"]["R@100"]
    assert row["raw"] < row["teacher"]
    # Each topic was learnt in other words: most of it is kept on any processor.
    assert row["lift"]["share"] > 0.3
    told = report["filter"]
    assert told["yield"] > 0.5
    assert told["filtered"]
    assert told["queries"] == sum(
        told[name] for name in ("better", "good", "no_better", "worse", "unjudged", "fault")
    )
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "is taught to stay so" in page
    assert "student, anchored" in page
    assert report["harm"]["anchored"]["queries"] == report["harm"]["student"]["queries"]
    assert f"<td>{report['harm']['student']['queries']}</td>" in page
    assert report["verdict"]["measure"] == "R@100"
    # With ctranslate2 there is an export, too; tests of its own are beside these.
    assert report["speed"].keys() == {"teacher", "student", *report["exports"]}
    assert report["student"]["new_tokens"] < 64
    # Anybody can recompute every figure.
    at = tmp_path / "run/rankings"
    qrels = trec.read_qrels(at / "qrels.trec")
    found = {
        name: trec.read(at / f"{name}.trec") for name in ("raw", "teacher", "student", "anchored")
    }
    for name, ranked in found.items():
        values = per_query(qrels, ranked, ["nDCG@10"])["nDCG@10"].values()
        assert report["quality"]["nDCG@10"][name] == pytest.approx(sum(values) / len(values))
    for query, listed in found["anchored"].items():
        kept = anchored(found["raw"][query], found["student"][query], 5)
        assert [document for document, _ in listed] == [document for document, _ in kept]
    assert T5ForConditionalGeneration.from_pretrained(tmp_path / "run/student")
    lines = (tmp_path / "run/rewrites/student.jsonl").read_text("utf-8").splitlines()
    rewrites = {row["text"]: row["rewrite"] for row in map(json.loads, lines)}
    part: Any = open_rewriter(understand(str(tmp_path / "run"), Path()), RewriterOptions(), "cpu")
    part.load()
    assert {text: part.rewrite([], text) for text in rewrites} == rewrites
    # A run that is done is done, and what was asked once is known to every other run.
    again = report_of(run(tmp_path, *NO_EXPORT, "--no-effect-filter", "--json", out="again"))
    assert again["stages"]["collect"]["items"] == 0
    assert not again["filter"]["filtered"]


def test_an_expanding_run_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = (*NO_EXPORT, "--epochs", "6")
    whole = report_of(run(tmp_path, *short, "--json", out="whole"))
    calls, forward = count(), SequenceLoss.forward

    def cut_off(self: SequenceLoss, *args: Any, **inputs: Any) -> Any:
        if next(calls) == 20:
            raise RuntimeError("the power is gone")
        return forward(self, *args, **inputs)

    with monkeypatch.context() as for_now:
        for_now.setattr(SequenceLoss, "forward", cut_off)
        assert run(tmp_path, *short, out="cut").exit_code == 1
    assert list((tmp_path / "cut/checkpoints").glob("checkpoint-*"))
    report = report_of(run(tmp_path, *short, "--json", out="cut"))
    assert report["training"]["losses"] == whole["training"]["losses"]
    assert report["quality"] == whole["quality"]
    assert report["stages"]["collect"]["items"] == 0


def test_a_language_model_is_asked_once_and_its_variants_are_fused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with chatting(reply=lambda content: said(answered(content))) as served:
        teacher = ("--teacher", "openai:tiny", "--teacher-url", served.url, "--epochs", "4")
        first = report_of(run(tmp_path, *teacher, *NO_EXPORT, "--json"))
        asked = served.requests
        other = ("--combine", "append", "--seed", "0")
        more = report_of(run(tmp_path, *teacher, *other, *NO_EXPORT, "--json", out="append"))
        assert served.requests == asked
    assert first["stages"]["collect"]["items"] > 0
    assert more["stages"]["collect"]["items"] == 0
    for report, combine in ((first, "rrf"), (more, "append")):
        assert report["student"]["combine"] == combine
        row = report["quality"]["R@100"]
        assert row["raw"] < row["teacher"]
    told = (tmp_path / "run/rewrites/teacher.jsonl").read_text("utf-8")
    assert " ||| " in told
    # Where nobody fuses, words are appended.
    assert "|||" not in Rewriter.load(tmp_path / "run").rewrite([], "where is the river")


def test_an_embedder_gives_feedback_and_filters(tmp_path: Path) -> None:
    embedder = save_tiny(tmp_path / "embedder")
    more = ("--embedder", str(embedder), "--feedback-from", "embedder", "--no-effect-filter")
    report = report_of(run(tmp_path, *more, *NO_EXPORT, "--epochs", "1", "--json"))
    assert report["teacher"]["retriever"] == "embedder"
    assert {"raw", "teacher", "student"} <= report["dense"]["quality"]["R@100"].keys()
    assert (tmp_path / "run/rankings/student-dense.trec").is_file()


def test_a_stack_has_a_language_model_expand(tmp_path: Path) -> None:
    embedder = save_tiny(tmp_path / "embedder")
    writer = save_writer(tmp_path / "writer", max_position_embeddings=2048)
    folders = {}
    for name, told in (
        ("embedder", {"teacher": str(embedder)}),
        ("rewriter", {"teacher": str(writer), "task": "expand", "expansion_tokens": 4}),
        ("fed", {"teacher": "rm3", "task": "expand"}),
    ):
        component = "embedder" if name == "embedder" else "query-rewriter"
        folders[name] = tmp_path / "runs" / name
        folders[name].mkdir(parents=True)
        manifest = {"schema": 1, "component": component, "config": told}
        (folders[name] / "run.json").write_text(json.dumps(manifest))
    parts = {"embedder": folders["embedder"]}
    files = write_stacks(parts | {"rewriter": folders["rewriter"]}, tmp_path / "stacks")
    told = [yaml.safe_load(file.read_text("utf-8"))["rewriter"] for file in files]
    assert told[0] == {"model": "../writer", "task": "expand", "expansion_tokens": 4}
    assert told[1] == {"model": "../runs/rewriter"}
    # Feedback needs the corpus, so it is no part of a stack.
    files = write_stacks(parts | {"rewriter": folders["fed"]}, tmp_path / "fed")
    told = [yaml.safe_load(file.read_text("utf-8"))["rewriter"] for file in files]
    assert told[0] == told[1] == {"model": "../runs/fed"}
    options = RewriterOptions(task="expand", expansion_tokens=4)
    part: Any = open_rewriter(understand(str(writer), Path()), options, "cpu")
    part.load()
    # What was cut off is no expansion.
    assert part.rewrite([], "where is the river") == "where is the river"
    other = RewriterOptions(task="expand", expansion_tokens=4, original_weight=0.3)
    again: Any = open_rewriter(understand(str(writer), Path()), other, "cpu")
    assert again.fingerprint != part.fingerprint
