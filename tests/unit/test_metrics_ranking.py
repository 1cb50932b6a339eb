"""Run files and measures: what is written can only be read one way, and equals ir_measures."""

from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdistill.errors import UserError
from ragdistill.metrics import ranking, trec

SCORES = st.lists(st.floats(-1e30, 1e30, width=64), min_size=1, max_size=12)


@given(scores=SCORES, ties=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_written_scores_strictly_decrease_as_float32(scores: list[float], ties: int) -> None:
    ordered = sorted(scores + scores[:1] * ties, reverse=True)
    written = trec.strictly_decreasing([(str(i), score) for i, score in enumerate(ordered)])
    read = np.array([f"{score:.9g}" for _, score in written]).astype(np.float32)
    assert (np.diff(read) < 0).all()
    np.testing.assert_allclose(read, ordered, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("score", [0.0, 1e-45, -1e-45, 1.2e-38])
def test_ties_next_to_zero_stay_out_of_subnormal_numbers(score: float) -> None:
    written = trec.strictly_decreasing([(str(i), score) for i in range(5)])
    values = np.array([value for _, value in written], np.float32)
    assert (np.diff(values) < 0).all()
    assert (np.abs(values[1:][values[1:] != 0]) >= np.finfo(np.float32).tiny).all()


def test_nan_and_rising_scores_are_refused() -> None:
    with pytest.raises(UserError, match="nan"):
        trec.strictly_decreasing([("a", float("nan"))])
    with pytest.raises(ValueError, match="best first"):
        trec.strictly_decreasing([("a", 1.0), ("b", 2.0)])


def _random_case(seed: int, ties: bool) -> tuple[dict[str, dict[str, int]], trec.Rankings]:
    random = np.random.default_rng(seed)
    documents = [f"d{i}" for i in range(150)]
    qrels, rankings = {}, {}
    for query in range(20):
        judged = random.choice(documents, size=random.integers(1, 8), replace=False)
        qrels[f"q{query}"] = {str(d): int(random.integers(0, 4)) for d in judged}
        scores = random.integers(0, 5, 150) / 4 if ties else random.normal(size=150)
        order = np.argsort(-scores, kind="stable")
        rankings[f"q{query}"] = [(documents[i], float(scores[i])) for i in order[:120]]
    del rankings["q3"]
    rankings["q4"] = []
    rankings["unjudged"] = [("d1", 1.0)]
    return qrels, rankings


@pytest.mark.parametrize("ties", [False, True])
def test_values_equal_ir_measures_on_the_written_files(tmp_path: Path, ties: bool) -> None:
    qrels, rankings = _random_case(seed=int(ties), ties=ties)
    measures = (*ranking.MEASURES, "AP", "Success@5")
    values = ranking.per_query(qrels, rankings, measures)
    trec.write(tmp_path / "run.trec", rankings, tag="student")
    trec.write_qrels(tmp_path / "qrels.trec", qrels)
    read_qrels: Any = ir_measures.read_trec_qrels
    read_run: Any = ir_measures.read_trec_run
    by_object = {str(measure): measure for measure in map(ir_measures.parse_measure, measures)}
    reference = ir_measures.calc_aggregate(
        by_object.values(),
        read_qrels(str(tmp_path / "qrels.trec")),
        read_run(str(tmp_path / "run.trec")),
    )
    for name, measure in by_object.items():
        assert list(values[name]) == list(qrels)
        assert np.mean(list(values[name].values())) == pytest.approx(reference[measure], abs=1e-9)
    assert values["nDCG@10"]["q3"] == values["nDCG@10"]["q4"] == 0
    assert ranking.per_query(qrels, trec.read(tmp_path / "run.trec"), measures) == values


def test_a_tie_keeps_the_rank_it_had() -> None:
    qrels = {"q": {"a": 1}}
    ahead, behind = [("a", 1.0), ("b", 1.0)], [("b", 1.0), ("a", 1.0)]
    assert ranking.per_query(qrels, {"q": ahead}, ["RR@10"])["RR@10"]["q"] == 1.0
    assert ranking.per_query(qrels, {"q": behind}, ["RR@10"])["RR@10"]["q"] == 0.5


def test_foreign_files_are_read_as_trec_eval_does(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 a 1 0.5 t\nq Q0 b 2 0.5 t\nq Q0 c 3 0.9 t\n\n")
    assert [document for document, _ in trec.read(file)["q"]] == ["c", "b", "a"]


@given(identifier=st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable()))
@settings(deadline=None, max_examples=40)
def test_any_id_survives(tmp_path_factory: pytest.TempPathFactory, identifier: str) -> None:
    file = tmp_path_factory.mktemp("ids") / "run"
    for document in (identifier, f"{identifier} x", f"{identifier}%20\u3000"):
        trec.write(file, {document: [(document, 1.0)]}, tag="a tag")
        assert trec.read(file) == {document: [(document, 1.0)]}
        trec.write_qrels(file, {document: {document: 2}})
        assert trec.read_qrels(file) == {document: {document: 2}}


@pytest.mark.parametrize(
    ("line", "message"),
    [("q Q0 a 1 0.5", "5 columns"), ("q Q0 a 1 high t", "'high' is not a number")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "run"
    file.write_text(f"q Q0 a 1 0.5 t\n{line}\n")
    with pytest.raises(UserError, match=rf"run:2: .*{message}"):
        trec.read(file)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        trec.read(tmp_path / "none")


def test_a_document_ranked_twice_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        trec.write(tmp_path / "run", {"q": [("a", 1.0), ("a", 0.5)]}, tag="t")
    assert list(tmp_path.iterdir()) == []


def test_search_is_exact_and_breaks_ties_by_position() -> None:
    random = np.random.default_rng(0)
    documents = random.normal(size=(60, 8)).astype(np.float32)
    documents[17] = documents[5]
    queries = np.vstack([documents[5], random.normal(size=(4, 8))]).astype(np.float32)
    ids = [f"d{i}" for i in range(60)]
    found = ranking.search(queries, documents, ids, k=10)
    for row, result in zip(queries @ documents.T, found, strict=True):
        assert [d for d, _ in result] == [ids[i] for i in np.argsort(-row, kind="stable")[:10]]
    assert [document for document, _ in found[0]].index("d5") + 1 == [
        document for document, _ in found[0]
    ].index("d17")
    assert len(ranking.search(queries, documents[:3], ids[:3], k=10)[0]) == 3


def test_search_refuses_nan() -> None:
    vectors = np.full((2, 4), np.nan, np.float32)
    with pytest.raises(UserError, match="document vector holds NaN"):
        ranking.search(np.ones((1, 4), np.float32), vectors, ["a", "b"], k=1)


@pytest.mark.parametrize("name", ["nDGC@10", "nDCG@ten", "nDCG@", ""])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no measure"):
        ranking.per_query({"q": {"a": 1}}, {"q": [("a", 1.0)]}, [name])


def test_overlap() -> None:
    a = {"1": [("x", 3.0), ("y", 2.0)], "2": [("x", 1.0)], "3": []}
    b = {"1": [("y", 9.0), ("z", 1.0)], "3": []}
    assert ranking.overlap(a, a) == 1.0
    assert ranking.overlap(a, b) == pytest.approx((0.5 + 0 + 1) / 3)
    assert ranking.overlap(a, b, k=1) == pytest.approx((0 + 0 + 1) / 3)
