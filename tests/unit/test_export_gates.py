"""Gates: what passes, what does not, and what is tried next."""

import logging
from pathlib import Path

import numpy as np
import pytest

from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.export.gates import (
    FP32,
    INT8,
    Attempt,
    GateResult,
    check,
    check_scores,
    with_fallback,
)
from ragdistill.metrics.ranking import search

IDS = [f"d{number}" for number in range(60)]
QRELS = {f"q{number}": {f"d{number}": 1} for number in range(20)}


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, 24)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rankings(vectors: np.ndarray) -> dict[str, list[tuple[str, float]]]:
    """The first 60 vectors are the documents', the last 20 the queries'."""
    return dict(zip(QRELS, search(vectors[60:], vectors[:60], IDS, 20), strict=True))


@pytest.fixture
def vectors() -> np.ndarray:
    documents = unit(np.random.default_rng(0), 60)
    return np.concatenate([documents, documents[:20]])


def held(vectors: np.ndarray, other: np.ndarray, qrels=QRELS, limits=INT8) -> GateResult:
    return check(vectors, other, rankings(vectors), rankings(other), qrels, limits)


def test_a_model_passes_its_own_gate(vectors):
    assert held(vectors, vectors, limits=FP32) == GateResult(0.0, pytest.approx(1.0), 1.0, 0.0, ())


def test_figures_are_what_they_say(vectors):
    other = vectors.copy()
    other[60:63] = -other[60:63]  # three queries turned round find their document last
    result = held(vectors, other)
    assert result.max_abs_diff == pytest.approx(2 * np.abs(vectors[60:63]).max())
    assert result.min_cosine == pytest.approx(-1)
    assert result.ndcg_difference == pytest.approx(-3 / 20)
    assert result.overlap_at_10 < 0.9
    assert not result.passed
    assert [reason.split()[0] for reason in result.reasons] == ["smallest", "nDCG@10"]


def test_length_is_no_error_but_direction_is(vectors):
    scaled = held(vectors, 3 * vectors)
    assert scaled.passed
    assert scaled.max_abs_diff > 1
    noisy = vectors + unit(np.random.default_rng(1), 80) * 0.6
    assert held(vectors, noisy.astype(np.float32)).overlap_at_10 < 0.85


def test_without_judgments_rankings_are_still_compared(vectors):
    assert held(vectors, vectors, qrels={}).ndcg_difference is None
    assert not held(vectors, vectors[::-1], qrels={}).passed


@pytest.mark.parametrize("spoilt", [np.nan, 0.0])
def test_a_vector_without_direction_never_passes(vectors, spoilt):
    other = vectors.copy()
    other[5] = spoilt
    result = check(vectors, other, rankings(vectors), rankings(vectors), QRELS, INT8)
    assert not result.passed
    assert result.as_json()["min_cosine"] is None


@pytest.fixture
def scores() -> np.ndarray:
    """Twenty lists of thirty; the relevant document is the one of greatest score."""
    drawn = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    drawn[np.arange(20), np.arange(20)] = 5
    return drawn


def held_scores(
    scores: np.ndarray, other: np.ndarray, limits=INT8, there: np.ndarray | None = None
) -> GateResult:
    everywhere = np.ones(scores.shape, bool) if there is None else there

    def ranked(table: np.ndarray) -> dict[str, list[tuple[str, float]]]:
        rows = (
            [(IDS[n], float(row[n])) for n in np.argsort(-row, kind="stable") if listed[n]]
            for row, listed in zip(table, everywhere, strict=True)
        )
        return dict(zip(QRELS, rows, strict=True))

    return check_scores(scores, other, everywhere, ranked(scores), ranked(other), QRELS, limits)


def test_scores_pass_their_own_gate_on_any_scale(scores):
    result = held_scores(scores, scores, FP32)
    assert result == GateResult(0.0, None, 1.0, 0.0, (), pytest.approx(1.0))
    moved = held_scores(scores, 3 * scores - 7, FP32)
    assert moved.passed
    assert moved.max_abs_diff > 1


def test_figures_of_scores_are_what_they_say(scores):
    other = scores.copy()
    other[4] = -other[4]
    other[5, 5] = -9  # the relevant document is last, and nDCG@10 of its list nothing
    result = held_scores(scores, other)
    assert result.min_correlation == pytest.approx(-1)
    assert result.max_abs_diff == pytest.approx(14)
    assert result.ndcg_difference == pytest.approx(-2 / 20)
    assert 0.9 < result.overlap_at_10 < 1
    assert [reason.split()[:2] for reason in result.reasons] == [
        ["smallest", "correlation"],
        ["nDCG@10", "lost"],
    ]
    assert result.as_json()["min_cosine"] is None


def test_places_without_a_document_and_flat_lists_say_nothing(scores):
    there = np.ones(scores.shape, bool)
    there[:, 25:] = False
    there[7] = False
    other = scores.copy()
    other[~there] = np.nan
    assert held_scores(scores, other, FP32, there).passed
    flat = scores.copy()
    flat[3] = 1 + 1e-6 * flat[3]
    turned = flat.copy()
    turned[3] = 2 - flat[3]
    assert held_scores(flat, turned).min_correlation == pytest.approx(1)


@pytest.mark.parametrize("row", [2, 3])
def test_a_score_that_is_no_number_never_passes(scores, row):
    scores[3] = 1.0
    other = scores.copy()
    other[row, 9] = np.nan
    everywhere = np.ones(scores.shape, bool)
    result = check_scores(scores, other, everywhere, {}, {}, {}, INT8)
    assert not result.passed
    assert result.as_json()["min_correlation"] is None


def test_one_score_for_all_never_passes(scores):
    assert not check_scores(
        scores, np.ones_like(scores), np.ones(scores.shape, bool), {}, {}, {}, INT8
    ).passed


def attempts(log: list[str], *names: str) -> list[Attempt]:
    def build(name: str) -> Path:
        log.append(name)
        return Path(name)

    return [Attempt(name, lambda name=name: build(name)) for name in names]


def verdicts(**passes: bool):
    return lambda folder: GateResult(
        0.0, 1.0, 1.0, None, () if passes[str(folder)] else (f"{folder} is bad",)
    )


def test_the_first_that_passes_is_kept_and_failures_are_said(caplog):
    built: list[str] = []
    with caplog.at_level(logging.WARNING):
        outcome = with_fallback(
            attempts(built, "fast", "fair", "slow"), verdicts(fast=False, fair=True, slow=True)
        )
    assert built == ["fast", "fair"]
    assert (outcome.name, outcome.folder) == ("fair", Path("fair"))
    assert [(name, result.reasons) for name, result in outcome.failed] == [
        ("fast", ("fast is bad",))
    ]
    assert caplog.messages == ["fast fails its gate: fast is bad"]


def test_where_none_passes_the_last_is_returned_as_failed():
    outcome = with_fallback(attempts([], "fast", "slow"), verdicts(fast=False, slow=False))
    assert (outcome.name, outcome.result.passed, len(outcome.failed)) == ("slow", False, 1)
    with pytest.raises(ValueError, match="no attempts"):
        with_fallback([], verdicts())


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("coding", ["float32", "float16", "int8", "binary"])
def test_an_index_finds_what_was_put_in(tmp_path, vectors, kind, coding):
    faiss_index.write(
        vectors[:60], IDS, tmp_path / "faiss", encoder_digest="ab", kind=kind, coding=coding
    )
    found = faiss_index.load(tmp_path / "faiss")
    assert [ranking[0][0] for ranking in found.search(vectors[60:], 3)] == IDS[:20]
    assert type(found.index).__name__.startswith("IndexBinary") is (coding == "binary")
    assert found.encoder_digest == "ab"
    with pytest.raises(ValueError, match="ids"):
        faiss_index.write(vectors, IDS, tmp_path / "wrong", encoder_digest="ab")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("index.faiss", None),
        ("index.faiss", "x"),
        ("ids.json", "["),
        ("ids.json", "[]"),
        ("ragdistill.json", '{"encoder_digest": "ab", "binary": true, "dimensions": 8}'),
        ("ragdistill.json", '{"encoder_digest": "ab", "binary": false, "dimensions": 7}'),
    ],
)
def test_a_spoilt_index_is_refused(tmp_path, vectors, file, content):
    faiss_index.write(vectors[:60], IDS, tmp_path / "faiss", encoder_digest="ab")
    path = tmp_path / "faiss" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match="export the index again"):
        faiss_index.load(tmp_path / "faiss")
