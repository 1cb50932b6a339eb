"""Ways to keep vectors: exact where they say so, as large as they say, and the Pareto front."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragdistill.data.collection import Document, Query
from ragdistill.errors import UserError
from ragdistill.metrics import indexes, ranking, storage, trec
from ragdistill.metrics.indexes import build
from ragdistill.metrics.pareto import front
from ragdistill.metrics.retrieval import HEADLINE, Task, rank
from ragdistill.report import schema

CODINGS: tuple[indexes.Coding, ...] = ("float32", "float16", "int8", "binary")


def unit(count: int, wide: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors in clusters, as those of texts are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, wide))
    found = centres[rng.integers(0, 40, count)] + 0.6 * rng.normal(size=(count, wide))
    whole: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("f4")
    return whole


def task(documents: int, queries: int) -> Task:
    """Query n is right with document n."""
    return Task(
        tuple(Document(f"d{n}", "", "") for n in range(documents)),
        tuple(Query(f"q{n}", "") for n in range(queries)),
        {f"q{n}": {f"d{n}": 1} for n in range(queries)},
        "test",
    )


def ground(folder: Path, documents: int = 600, queries: int = 40, wide: int = 48) -> storage.Ground:
    """Queries next to their documents, and a teacher that finds all."""
    vectors, asked = unit(documents, wide), task(documents, queries)
    near = vectors[:queries] + 0.1 * unit(queries, wide, seed=1)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    teacher = {f"q{n}": [(f"d{n}", 1.0)] for n in range(queries)}
    return storage.Ground(folder, asked, teacher, near, vectors, seed=0)


def test_float32_is_exact_search_bit_for_bit(tmp_path: Path) -> None:
    on = ground(tmp_path)
    whole = rank(on.task, on.queries, on.documents)
    assert on.exact == {query: row[: storage.DEPTH] for query, row in whole.items()}
    cut = indexes.unit_prefix(on.documents, 16)
    found = on.rank(build(on.documents, "flat", "float32", 16))
    for query, row in rank(on.task, indexes.unit_prefix(on.queries, 16), cut).items():
        assert [document for document, _ in found[query]] == [d for d, _ in row[: storage.DEPTH]]
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    entry = on.measure(storage.Way("flat", "float32", 48))
    assert (entry["recall_of_exact"], entry["ndcg_difference"]) == (1, 0)


def test_every_figure_can_be_recomputed_from_the_files(tmp_path: Path) -> None:
    on = ground(tmp_path)
    section = storage.measure(on, lambda part: on.teacher, (48, 16))
    qrels = trec.read_qrels(tmp_path / "rankings/qrels.trec")

    def ndcg(name: str) -> float:
        found = trec.read(tmp_path / f"rankings/{name}.trec")
        return float(np.mean(list(ranking.per_query(qrels, found, [HEADLINE])[HEADLINE].values())))

    measured = [entry for entry in section if "quality" in entry]
    assert len(measured) == 11
    for entry in measured:
        length = "-16" if entry["dimensions"] == 16 else ""
        index = "-hnsw" if entry["index"] == "hnsw" else ""
        mine = ndcg(f"student{length}-{entry['vectors']}{index}")
        assert entry["quality"][HEADLINE]["student"] == mine
        assert entry["ndcg_difference"] == pytest.approx(mine - ndcg("student-float32"), abs=1e-12)
        assert entry["search_ms"] > 0
    recall = {(e["vectors"], e["index"], e["dimensions"]): e["recall_of_exact"] for e in measured}
    assert recall["float16", "flat", 48] >= 0.99
    assert recall["int8", "flat", 48] > recall["binary", "flat", 48]
    assert recall["binary-rescored", "flat", 48] > recall["binary", "flat", 48]
    assert recall["float32", "hnsw", 48] > 0.95
    (left_out,) = [entry for entry in section if "quality" not in entry]
    assert left_out["reason"] == "ivfpq learns its codes from 9,984 documents or more, not 600"
    assert all((tmp_path / name).is_file() for name in storage.rankings_of((48, 16)))
    schema.Report.model_validate(_report(section))


def _report(section: list[dict[str, Any]]) -> dict[str, Any]:
    empty: dict[str, Any] = {"quality": {}, "exports": {}, "speed": {}, "stages": {}}
    named = {key: {"name": "x"} for key in ("teacher", "student", "data")}
    return {"schema": 1, "component": "x", **named, **empty, "verdict": None, "storage": section}


@pytest.mark.parametrize(
    ("coding", "each"), [("float32", 192), ("float16", 96), ("int8", 48), ("binary", 6)]
)
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_bytes_are_those_of_the_serialised_index(
    kind: indexes.Kind, coding: indexes.Coding, each: int, tmp_path: Path
) -> None:
    vectors = unit(400, 48)
    some, more = (build(vectors[:count], kind, coding, 48) for count in (200, 400))
    serialise = faiss.serialize_index_binary if coding == "binary" else faiss.serialize_index
    some.write(tmp_path / "index")
    assert some.bytes() == len(serialise(some.index)) == (tmp_path / "index").stat().st_size
    grown = (more.bytes() - some.bytes()) / 200
    assert grown == each if kind == "flat" else each + 256 < grown < each + 400


@pytest.mark.parametrize("wide", [8, 12, 13])
def test_bits_come_in_whole_bytes(wide: int) -> None:
    vectors = unit(50, 16)
    index = build(vectors, "flat", "binary", wide)
    assert index.index.code_size == -(-wide // 8)
    signs = np.where(indexes.unit_prefix(vectors, wide) > 0, 1, -1)
    apart, rows = index.search(indexes.unit_prefix(vectors[:5], wide), 50, rescored=False)
    for place in range(5):
        expected = (signs[place] != signs[rows[place]]).sum(axis=1)
        np.testing.assert_array_equal(-apart[place], expected)


def test_all_candidates_rescored_are_ordered_by_the_query_as_it_is() -> None:
    vectors, queries = unit(30, 16), unit(4, 16, seed=3)
    scores, rows = build(vectors, "flat", "binary", 16).search(queries, 40)
    products = queries @ (vectors > 0).astype(np.float32).T
    for place in range(4):
        assert sorted(rows[place, :30]) == list(range(30))
        np.testing.assert_allclose(scores[place, :30], -np.sort(-products[place]), atol=1e-5)
        assert set(rows[place, 30:]) == {-1}


def test_codes_are_learnt_where_there_are_enough_documents(tmp_path: Path) -> None:
    on = ground(tmp_path, documents=indexes.FEWEST_IVFPQ, wide=16)
    asked: list[Task] = []

    def rank_teacher(part: Task) -> trec.Rankings:
        asked.append(part)
        return on.teacher

    section = storage.measure(on, rank_teacher)
    (found,) = [entry for entry in section if entry["index"] == "ivfpq" and "quality" in entry]
    assert (found["vectors"], found["documents"]) == ("pq", indexes.FEWEST_IVFPQ)
    assert found["bytes_per_document"] < 4 * 16
    assert found["recall_of_exact"] > 0.5
    (part,) = asked
    assert len(part.documents) == indexes.FEWEST_IVFPQ // 10
    assert {f"d{n}" for n in range(40)} <= {document.id for document in part.documents}
    exact = next(e for e in section if e["documents"] == len(part.documents))
    assert exact["recall_of_exact"] == 1
    assert (tmp_path / f"rankings/student-float32-hnsw-of-{len(part.documents)}.trec").is_file()
    assert (tmp_path / f"rankings/teacher-of-{len(part.documents)}.trec").is_file()


def test_without_judgments_the_agreement_is_measured(tmp_path: Path) -> None:
    on = ground(tmp_path)
    bare = storage.Ground(
        tmp_path, Task(on.task.documents, on.task.queries, {}, None), on.exact, on.queries,
        on.documents, 0,
    )  # fmt: skip
    entry = bare.measure(storage.Way("flat", "int8", 48))
    assert entry["ndcg_difference"] is None
    assert entry["quality"]["overlap@10"]["student"] == entry["recall_of_exact"]


def test_what_cannot_be_built_is_refused() -> None:
    vectors = unit(100, 16)
    for coding, words in (
        ("float32", "9,984 documents or more, not 100"),
        ("int8", "codes of its"),
    ):
        with pytest.raises(UserError, match=words):
            build(vectors, "ivfpq", coding, 16)  # type: ignore[arg-type]
    assert "13 are no such" in indexes.why_not("ivfpq", "float32", 20_000, 13)


POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points=POINTS)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    def beaten(cost: float, quality: float) -> bool:
        return any(
            other != (cost, quality) and other[0] <= cost and other[1] >= quality
            for other in points
        )

    assert front(points) == [not beaten(*point) for point in points]
