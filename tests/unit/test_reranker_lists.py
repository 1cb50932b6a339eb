"""Candidates of a first stage, and the lists that are made of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError
from ragdistill.first_stage import (
    NONE,
    Candidates,
    Nearest,
    Words,
    from_rankings,
)
from ragdistill_reranker.lists import difficulty, examine, make_lists
from tiny_models import save_tiny, texts


def test_bm25_finds_words_and_nothing_without_them() -> None:
    found = Words(["a red bird", "a red stone", "the sea", ""]).find(["red bird", "zebra"], 3)
    assert found.places.tolist() == [[0, 1, NONE], [NONE] * 3]
    assert found.scores[0, 0] > found.scores[0, 1] > 0
    assert found.scores.dtype == np.float32


def test_bm25_scores_any_text_and_those_of_the_corpus_as_it_finds_them() -> None:
    documents = ["a red bird", "a red stone", "the sea"]
    stage = Words(documents)
    found = stage.find(["red bird"], 3)
    (row,) = stage.scores(["red bird"], [documents])
    np.testing.assert_allclose(row[found.places[0, :2]], found.scores[0, :2], rtol=1e-6)
    others = stage.scores(["red bird", "zebra"], [["bird red", "stone"], ["zebra", "the sea"]])
    assert others[0, 0] > others[0, 1] == 0
    assert others[1, 0] > others[1, 1] == 0


def test_vectors_find_and_score_the_nearest(tmp_path: Path) -> None:
    encoder, documents = load_encoder(save_tiny(tmp_path / "m"), "cpu"), texts(12)
    stage = Nearest("tiny", "digest", encoder, documents)
    found = stage.find(documents[:3], 5)
    assert found.places.shape == (3, 5)
    assert found.places[:, 0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-5)
    assert stage.find(documents[:3], 50).places.shape == (3, 12)
    listed = [[documents[place] for place in row] for row in found.places]
    np.testing.assert_allclose(stage.scores(documents[:3], listed), found.scores, atol=1e-5)
    assert stage.scores(["elsewhere"], [["a text of no corpus", documents[0]]]).shape == (1, 2)


def test_rankings_of_others_are_taken_over_or_refused() -> None:
    where, documents = Path("run.trec"), ["a", "b", "c"]
    rankings = {"q1": [("c", 3.0), ("a", 1.0)], "q2": [("b", 2.0), ("a", 1.0)], "q4": [("a", 1.0)]}
    found = from_rankings(rankings, ["q2", "q1"], documents, 2, where)
    assert found.places.tolist() == [[1, 0], [2, 0]]
    assert found.scores.tolist() == [[2, 1], [3, 1]]
    with pytest.raises(UserError, match=r"run\.trec: ranks no documents for the query 'q3'; rank"):
        from_rankings(rankings, ["q3"], documents, 2, where)
    with pytest.raises(UserError, match="ranks 1 document for the query 'q4'; rank two"):
        from_rankings(rankings, ["q4"], documents, 2, where)
    with pytest.raises(UserError, match="'c' for the query 'q1', which is not in the corpus"):
        from_rankings(rankings, ["q1"], documents[:2], 2, where)


@given(
    ways=st.integers(2, 12),
    near=st.integers(0, 20),
    documents=st.integers(20, 60),
    known=st.lists(st.integers(0, 19), max_size=3),
    seed=st.integers(0, 9),
)
def test_lists_hold_each_document_once_and_the_positive_first(
    ways: int, near: int, documents: int, known: list[int], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(documents)[:near].astype(np.int64)
    candidates = Candidates(order[None], np.ones((1, near), np.float32))
    options = {"documents": documents, "ways": ways, "seed": seed}
    (made,) = make_lists(candidates, ["q"], [known], **options)
    two = Candidates(order[None].repeat(2, axis=0), np.ones((2, near), np.float32))
    again = make_lists(two, ["another", "q"], [[], known], **options)
    assert (made == again[1]).all()  # it does not depend on the others
    assert len(set(made.tolist())) == ways  # there are documents enough
    assert made[0] in known if known else (made[0] == order[0] if near else True)
    assert not set(made[1:].tolist()) & set(known)


def test_lists_have_every_difficulty() -> None:
    candidates = Candidates(np.arange(40, dtype=np.int64)[None], np.ones((1, 40), np.float32))
    (made,) = make_lists(candidates, ["q"], [[99]], documents=1000, ways=17, seed=0)
    assert made[0] == 99
    assert sum(made[1:] < 20) == 8
    assert sum((made[1:] >= 20) & (made[1:] < 40)) == 4
    assert sum(made[1:] >= 40) == 4
    assert difficulty(made[None], candidates) == {"hard": 8, "medium": 4, "random": 4}
    (pair,) = make_lists(candidates, ["q"], [[99]], documents=1000, ways=2, seed=0)
    assert pair[1] < 20  # one negative alone is a hard one


def test_a_small_corpus_gives_what_it_has() -> None:
    candidates = Candidates(np.array([[1, 0]]), np.ones((1, 2), np.float32))
    (made,) = make_lists(candidates, ["q"], [[2]], documents=3, ways=6, seed=0)
    assert sorted(made.tolist()) == [NONE, NONE, NONE, 0, 1, 2]


def test_planted_false_negatives_are_found() -> None:
    """Twenty lists of one positive and seven negatives; in half of them a negative is relevant, too."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (20, 8)).astype(np.float32)
    scores[:, 0] = 6
    planted = np.zeros((20, 8), dtype=bool)
    planted[range(10), rng.integers(1, 8, 10)] = True
    scores[planted] = 6.5
    there, known = np.ones((20, 8), dtype=bool), np.ones(20, dtype=bool)
    findings = examine(scores, there, known)
    assert (findings.usable == ~planted).all()
    told = findings.as_json()
    assert (told["lists"], told["negatives"], told["false_negatives"]) == (20, 140, 10)
    assert told["flat_lists"] == told["suspicious_positives"] == 0
    # The same on another scale; and where no positive is known, nothing is like it.
    assert (examine(100 * scores - 7, there, known).usable == ~planted).all()
    assert examine(scores, there, ~known).usable.all()


def test_flat_lists_and_suspicious_positives_are_told() -> None:
    scores = np.array([[3, 1, 0], [1, 1.01, 1], [-2, 1, 0], [2, 0, 9]], dtype=np.float32)
    there = np.ones((4, 3), dtype=bool)
    there[3, 2] = False
    findings = examine(scores, there, np.ones(4, dtype=bool))
    assert findings.confident.tolist() == [True, False, True, True]
    assert findings.suspicious.tolist() == [False, False, True, False]
    assert not findings.usable[3, 2]
