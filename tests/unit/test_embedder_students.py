"""Students of other kinds: static ones, and those whose queries search the teacher's own index."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sentence_transformers import SentenceTransformer

from ragdistill.cli import main
from ragdistill.data.collection import Collection, Document
from ragdistill.data.training_texts import training_texts
from ragdistill.encoder import StaticEncoder, load_encoder
from ragdistill.export import faiss_index
from ragdistill.export.static import load_embedder
from ragdistill.metrics import trec
from ragdistill.models.digest import digests
from ragdistill_embedder.static import make_static
from tiny_models import save_searched, save_tiny, texts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of 64 dimensions, another model of 32, and a collection."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "teacher", dimensions=64)
    save_tiny(folder / "narrow", seed=1)
    save_searched(folder / "data", documents=60, queries=20)
    return folder


def run(place: Path, out: str, *words: str) -> dict[str, Any]:
    """The report of a run into ``out``."""
    told = ["--teacher", str(place / "teacher"), "--data", str(place / "data")]
    told += ["--store", str(place / "store"), "--out", str(place / out), "--json"]
    result = CliRunner().invoke(main, ["embedder", *told, *words])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def held_out(report: dict[str, Any]) -> list[float]:
    return [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]


def test_a_static_student(place: Path) -> None:
    report = run(place, "static", "--student", "static", "--dims", "48,16", "--lr", "3e-3")
    assert report["student"]["name"] == "teacher-static"
    assert report["student"]["dimensions"] == 48
    assert list(report["prefixes"]) == ["48", "16"]
    assert set(report["exports"]) == {"static", "faiss"}
    assert set(report["speed"]) == {"teacher", "student", "static"}
    assert report["exports"]["static"]["passed"]
    losses = held_out(report)
    assert losses[-1] < losses[0]
    student = SentenceTransformer(str(place / "static/student"), device="cpu")
    wanted = [*texts(5), " ".join(texts(9)), ""]
    ours = load_encoder(place / "static/student", "cpu").encode(wanted)
    np.testing.assert_allclose(ours, student.encode(wanted), atol=1e-6)
    served = load_embedder(place / "static/export/static").encode(wanted)
    np.testing.assert_allclose(served, ours, atol=2e-3)
    typed = "".join(json.dumps({"text": text}) + "\n" for text in wanted[:5])
    told = CliRunner().invoke(main, ["embed", str(place / "static")], input=typed)
    found = np.load(io.BytesIO(told.stdout_bytes))
    np.testing.assert_allclose(found, served[:5], atol=1e-6)
    again = run(place, "static", "--student", "static", "--dims", "48,16", "--lr", "3e-3")
    assert again["student"]["digest"] == report["student"]["digest"]


def test_a_static_student_starts_from_single_tokens_and_is_cut_where_the_teacher_cuts(
    place: Path,
) -> None:
    teacher = load_encoder(place / "teacher", "cpu", max_length=8)
    made = make_static(teacher, teacher.prompts, ["river river river city"])
    assert isinstance(made, StaticEncoder)
    assert made.max_length == 8
    assert max(map(len, made.tokenise([" ".join(texts(3))]))) == 8
    table = made.model[0].embedding.weight.detach().numpy()
    number = teacher.tokenizer.convert_tokens_to_ids
    alone = teacher.encode(["river", "city", "stone"])
    whole = teacher.forward([[2, token, 3] for token in range(len(table))]).vectors
    centred = alone - (whole / np.linalg.norm(whole, axis=1, keepdims=True)).mean(axis=0)
    rows = table[number(["river", "city", "stone"])]
    weights = (rows * centred).sum(axis=1) / (centred * centred).sum(axis=1)
    np.testing.assert_allclose(rows, weights[:, None] * centred, atol=1e-6)
    shares = np.array([3, 1, 0.5]) / 4
    np.testing.assert_allclose(weights, 1e-3 / (1e-3 + shares), rtol=1e-4)


def test_queries_of_an_asymmetric_student_search_what_the_teacher_has_made(place: Path) -> None:
    words = ("--student", str(place / "narrow"), "--epochs", "2", "--usd-per-hour", "3600")
    report = run(place, "asymmetric", *words, "--asymmetric")
    found = report["asymmetric"]
    assert report["student"]["dimensions"] == found["dimensions"] == 64
    assert found["documents"] == 60
    assert found["re_embedding"]["usd"] == pytest.approx(found["re_embedding"]["seconds"], abs=1e-2)
    assert set(found["both_student"]) == set(report["quality"])
    assert held_out(report)[-1] < held_out(report)[0]
    index = faiss_index.load(place / "asymmetric/export/faiss")
    assert index.encoder_digest == digests(place / "teacher").weights
    # What the report says, found with the ecosystem's own classes alone.
    student = SentenceTransformer(str(place / "asymmetric/student"), device="cpu")
    asked = [json.loads(line) for line in (place / "data/queries.jsonl").read_text().splitlines()]
    vectors = student.encode_query([row["text"] for row in asked], normalize_embeddings=True)
    _, rows = index.index.search(vectors, 10)
    ranked = trec.read(place / "asymmetric/rankings/student.trec")
    for row, places in zip(asked, rows, strict=True):
        assert [index.ids[item] for item in places] == [d for d, _ in ranked[row["_id"]][:10]]
    assert "no document is embedded again" in (place / "asymmetric/report.html").read_text()


@pytest.mark.parametrize("form", ["folder", "vectors", "faiss"])
def test_an_index_that_is_brought_serves_as_the_stored_vectors_do(place: Path, form: str) -> None:
    words = ("--student-layers", "2", "--epochs", "1", "--asymmetric")
    own = run(place, "own", *words)
    folder = place / "own/export/faiss"
    loaded = faiss_index.load(folder)
    path = folder
    if form == "vectors":  # rows in the order of the corpus, of any length
        path = place / "vectors.npy"
        np.save(path, 3 * loaded.index.reconstruct_n(0, len(loaded.ids)))
    if form == "faiss":
        path = folder / "index.faiss"
    report = run(place, f"brought-{form}", *words, "--teacher-index", str(path))
    assert report["quality"] == own["quality"]
    assert report["asymmetric"]["index"] == str(path)
    assert not (place / f"brought-{form}/export/faiss").exists()


def test_only_queries_are_learnt_from_where_only_they_are_served() -> None:
    documents = tuple(
        Document(str(n), f"Title {n}", f"{text} Another sentence {n} follows.")
        for n, text in enumerate(texts(5))
    )
    collection = Collection("c", documents, (), {})
    whole = training_texts(collection, limit=None, seed=0)
    asked = training_texts(collection, limit=None, seed=0, queries_only=True)
    assert {item.role for item in asked} == {"query"}
    contents = {document.content for document in documents}
    assert {item.text for item in asked} == {item.text for item in whole} - contents
