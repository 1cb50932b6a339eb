"""Tiny students, exports and models, opened as parts of a stack, against themselves."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from click.testing import CliRunner
from sentence_transformers import SentenceTransformer

from expansion_helpers import save_seq2seq
from rag_helpers import write_stack
from ragdistill.cli import main
from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.export.causal import graph
from ragdistill.export.labels import export_token_classifier
from ragdistill.export.onnx import export_embedder
from ragdistill.export.rerankers import export_cross_encoder
from ragdistill.metrics.retrieval import HEADLINE
from ragdistill.models.digest import digests
from ragdistill.models.resolve import resolve
from ragdistill.rag.parts import Parts, open_parts
from ragdistill.rag.stack import read
from ragdistill_generator import evaluation
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter
from ragdistill_generator.student import Student as Writer
from ragdistill_query_rewriter import sequence_exporting, sequences, terms
from ragdistill_query_rewriter.settings import SequenceSettings
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.students import KINDS, make
from tiny_models import save_searched, save_tiny, texts
from tiny_scorers import save_cross_encoder, save_language_model
from tiny_writers import save_writer

TEXTS = list(texts(6))
ROOM = 1024
QUERY = "which river runs"
Kind = Literal["seq2seq", "causal"]
INT8 = sequence_exporting.NAME
EXPORTED = find_spec("ctranslate2") is not None


def finished(run: Path, component: str, **config: Any) -> Path:
    """The manifest of a run, all of whose stages are done."""
    stages = {stage: {"state": "done"} for stage in ("collect", "train", "evaluate", "export")}
    inputs = {"teacher": "t" * 64}
    state = {
        "schema": 1,
        "component": component,
        "config": config,
        "inputs": inputs,
        "stages": stages,
    }
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps(state))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs of the three components, their teachers beside them."""
    folder = tmp_path_factory.mktemp("runs")
    prompts: dict[str, str | None] = {"query": "what is", "document": "the"}
    save_tiny(folder / "embedder/student", layers=2, prompts=prompts)
    finished(folder / "embedder", "embedder", teacher=str(save_tiny(folder / "big", seed=1)))
    encoder, digest = student_of(folder / "embedder")
    export_embedder(encoder.model, folder / "embedder/export/onnx", source_digest=digest)
    bases = {"cross-encoder": save_cross_encoder(folder / "pairs"), "bi-encoder": folder / "big"}
    for kind in KINDS:
        config = RerankerConfig(teacher="t", student=kind)
        make(config, bases.get(kind, folder / "big"), TEXTS).save(folder / kind / "student")
        finished(
            folder / kind, "reranker", teacher=str(folder / "pairs"), student=kind, candidates=5
        )
    reader = KINDS["cross-encoder"].load(folder / "cross-encoder/student", "cpu")
    export_cross_encoder(reader.model, folder / "cross-encoder/export/onnx", source_digest="ab")  # type: ignore[arg-type]
    save_writer(folder / "writer", max_position_embeddings=ROOM)
    save_writer(folder / "generator/student", num_hidden_layers=1, max_position_embeddings=ROOM)
    told = {
        "teacher": str(folder / "writer"),
        "style": "cited",
        "answer_tokens": 5,
        "contexts": 2,
        "window": ROOM,
    }
    finished(folder / "generator", "generator", **told)
    graph.write(folder / "generator/student", folder / "generator/export/onnx", source_digest="ab")
    save_rewriters(folder)
    return folder


def save_rewriters(folder: Path) -> None:
    """Finished runs of those that rewrite, with an export each: of words that are picked, and of expansions."""
    picker = terms.make(
        resolve(str(folder / "big")), "cpu", layers=None, window=None, most=24, seed=0
    )
    picker.save(finished(folder / "terms", "query-rewriter") / "student")
    onnx = folder / "terms/export/onnx"
    export_token_classifier(
        picker.network, picker.tokenizer, onnx, max_seq_length=64, source_digest="ab"
    )
    picker.settings.write(onnx)
    save_seq2seq(folder / "t5")
    save_writer(folder / "ending", ends=[3])
    kinds: tuple[Kind, ...] = ("seq2seq", "causal")
    for kind, base in zip(kinds, ("t5", "ending"), strict=True):
        told = SequenceSettings(window=32, new_tokens=8, student=kind)
        student = sequences.make(resolve(str(folder / base)), "cpu", told, None)
        at = finished(folder / kind, "query-rewriter", task="expand")
        student.save(at / "student")
        if EXPORTED:
            sequence_exporting.write(at / "student", at / f"export/{INT8}", "int8")


def student_of(run: Path) -> tuple[Any, str]:
    return load_encoder(run / "student", "cpu"), digests(run / "student").weights


def opened(runs: Path, **parts: Any) -> Parts:
    return open_parts(read(write_stack(runs / "stack.yaml", **{"bm25": True, **parts})))


@pytest.mark.parametrize("reference", ["embedder", "embedder/student", "embedder/export/onnx"])
def test_an_embedder_is_its_student(runs: Path, reference: str) -> None:
    part = opened(runs, embedder=reference).embedder
    assert part is not None
    library = SentenceTransformer(str(runs / "embedder/student"), device="cpu")
    part.load()
    passages, queries = part.encode(TEXTS, "passage"), part.encode([QUERY], "query")
    np.testing.assert_allclose(passages, library.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(queries, library.encode_query([QUERY]), atol=1e-5)
    assert list(part.spaces) == [digests(runs / "embedder/student").weights]
    assert part.dimensions == 32
    part.close()
    np.testing.assert_allclose(part.encode(TEXTS, "passage"), passages, atol=1e-6)


def test_a_fingerprint_is_of_all_that_changes_vectors(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "embedder", tmp_path / "same")
    shutil.copytree(runs / "embedder", tmp_path / "prompted")
    config = tmp_path / "prompted/student/config_sentence_transformers.json"
    config.write_text(config.read_text().replace("what is", "who is"))
    asked: list[Any] = [
        "embedder",
        str(tmp_path / "same"),
        str(tmp_path / "prompted"),
        {"model": "embedder", "query_prompt": "where is"},
        "embedder/export/onnx",
        "big",
    ]
    parts = [opened(runs, embedder=each).embedder for each in asked]
    first, same, *others = [part.fingerprint for part in parts if part is not None]
    assert first == same
    assert len({first, *others}) == 5


def test_a_student_for_queries_alone_searches_its_teachers_index(
    runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs / "embedder", tmp_path / "run")
    finished(tmp_path / "run", "embedder", asymmetric=True)
    part = opened(runs, embedder=str(tmp_path / "run")).embedder
    assert part is not None
    assert part.spaces[-1] == "t" * 64
    with pytest.raises(UserError, match="no index to search"):
        _ = part.index
    index = tmp_path / "run/export/faiss"
    faiss_index.write(
        np.eye(6, 32, dtype=np.float32), list("abcdef"), index, encoder_digest="t" * 64
    )
    assert part.index == index


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_reranker_is_its_student(runs: Path, kind: str) -> None:
    part = opened(runs, reranker=kind).reranker
    assert part is not None
    part.load()
    part.prepare(TEXTS)
    serve = KINDS[kind].load(runs / kind / "student", "cpu").serve([[(QUERY, t) for t in TEXTS]])  # type: ignore[index]
    np.testing.assert_allclose(part.scores(QUERY, TEXTS), serve(0), atol=1e-5)
    some = part.scores(QUERY, TEXTS[2:4])
    np.testing.assert_allclose(some, serve(0)[2:4], atol=1e-4)


def test_an_exported_reranker_scores_alike(runs: Path) -> None:
    student = opened(runs, reranker="cross-encoder").reranker
    exported = opened(runs, reranker="cross-encoder/export/onnx").reranker
    teacher = opened(runs, reranker="pairs").reranker
    assert student is not None
    assert exported is not None
    assert teacher is not None
    wanted = student.scores(QUERY, TEXTS)
    np.testing.assert_allclose(exported.scores(QUERY, TEXTS), wanted, atol=1e-4)
    np.testing.assert_allclose(teacher.scores(QUERY, TEXTS), wanted, atol=1e-4)  # whole, untaught
    assert len({part.fingerprint for part in (student, exported, teacher)}) == 3


def test_a_language_model_reranks_as_it_is_read(runs: Path) -> None:
    save_language_model(runs / "speaker")
    parts = [
        opened(runs, reranker={"model": "speaker", "reading": reading}).reranker
        for reading in ("likelihood", "yes-no")
    ]
    one, other = (part.scores(QUERY, TEXTS) for part in parts if part is not None)
    assert not np.allclose(one, other)
    with pytest.raises(UserError, match="reading is of models that are no students"):
        opened(runs, reranker={"model": "cross-encoder", "reading": "likelihood"})


@pytest.mark.parametrize("reference", ["generator", "generator/export/onnx"])
def test_a_generator_is_its_student_and_asks_as_it_was_taught(runs: Path, reference: str) -> None:
    part = opened(runs, generator=reference).generator
    assert part is not None
    student = Writer.load(runs / "generator/student", "cpu")
    prompter = Prompter(student.tokenizer, ROOM, 5, "cited")
    cases = [Case("q", QUERY, tuple(TEXTS[:2])), Case("r", QUERY, ())]
    part.load()
    wanted = evaluation.answer(student, prompter, cases, 5)
    told = [part.answer(case.question, case.contexts) for case in cases]
    assert [each.text for each in told] == wanted
    assert all(each.log_probability < 0 for each in told)
    assert len(wanted[0]) > 0


def test_more_contexts_than_are_read_are_cut(runs: Path) -> None:
    part = opened(runs, generator={"model": "writer", "answer_tokens": 4, "window": ROOM}).generator
    assert part is not None
    part.admit(3)
    with pytest.raises(UserError, match="no room for 60 contexts"):
        part.admit(60)
    assert part.answer(QUERY, TEXTS * 10).text


THREADED: list[tuple[str, Any]] = [
    ("embedder", "embedder"),
    ("embedder", "embedder/export/onnx"),
    *(("reranker", kind) for kind in (*KINDS, "cross-encoder/export/onnx", "pairs")),
    ("generator", "generator"),
    ("generator", "generator/export/onnx"),
    ("rewriter", "writer"),
    *(("rewriter", name) for name in ("terms", "terms/export/onnx", "seq2seq", "causal")),
    *(("rewriter", f"{kind}/export/{INT8}") for kind in ("seq2seq", "causal") if EXPORTED),
]


@pytest.mark.parametrize(("role", "reference"), THREADED)
def test_several_threads_hear_what_one_hears(runs: Path, role: str, reference: str) -> None:
    part: Any = opened(runs, **{role: reference}).of(role)  # type: ignore[arg-type]
    part.load()
    asked: dict[str, Callable[[str], Any]] = {
        "embedder": lambda text: part.encode([text], "query"),
        "reranker": lambda text: part.scores(text, TEXTS),
        "generator": lambda text: part.answer(text, TEXTS[:2]).text,
        "rewriter": lambda text: part.rewrite([QUERY], text),
    }
    if role == "reranker":
        part.prepare(TEXTS)
    queries = [" ".join(text.split()[:length]) for text in TEXTS for length in (1, 3, 5, 8)]
    alone = [asked[role](query) for query in queries]
    if role == "rewriter" and reference != "writer":  # which comes to no end, and changes nothing
        assert alone != queries
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(asked[role], queries))
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, str):
            assert one == other
        else:
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_from_runs_to_a_report(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = save_searched(tmp_path / "data", documents=30, queries=12)

    def run(*words: object) -> str:
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    named = {
        "--embedder": "embedder/export/onnx",
        "--reranker": "colbert",
        "--generator": "generator",
    }
    options = [word for key, name in named.items() for word in (key, runs / name)]
    written = run("rag", "init", *options, "--out", "stacks").split()
    assert written == ["stacks/teacher.yaml", "stacks/student.yaml"]
    compare = ("rag", "compare", *written, "--data", data, "--out", "run", "--concurrency", 2)
    said = run(*compare)
    assert all(f"\n{cell} " in said for cell in ("TTT", "SSS", "TST"))
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert len(report["rag"]["cells"]) == 8
    assert report["teacher"]["parts"]["reranker"]["name"] == "pairs"
    assert report["student"]["parts"]["embedder"]["name"] == "embedder/export/onnx"
    assert set(report["quality"]) >= {
        HEADLINE,
        f"retrieval {HEADLINE}",
        "F1 with teacher",
        "groundedness",
    }
    for side in ("teacher", "student"):
        load = report["speed"][side]["load"]
        assert (load["requests"], load["errors"]) == (12, 0)
        assert load["per_second"] > 0
        assert load["memory"]["rise_mb"] is None or load["memory"]["rise_mb"] > 1
        assert report[side]["size_mb"] > 0
    assert run("report", "show", "run") in said
    assert json.loads(run(*compare, "--json")) == report
