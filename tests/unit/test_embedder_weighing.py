"""Which questions several teachers are weighed by, and that nothing that is measured has a say."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ragdistill.data.collection import Collection, Document, Query
from ragdistill.data.training_texts import training_texts
from ragdistill.metrics.mixing import fit_factors
from ragdistill.metrics.retrieval import Vectors
from ragdistill_embedder.weighing import choose_weights


class Panel:
    """What ``choose_weights`` asks of a set-up: two teachers, one of which knows judged queries, the
    other titles; each finds only those."""

    def __init__(self, documents: int, judged: int) -> None:
        self.collection = Collection(
            "made",
            tuple(
                Document(f"d{n}", f"text number {n} ends", f"title {n}") for n in range(documents)
            ),
            tuple(Query(f"q{n}", f"asked {n}") for n in range(judged)),
            {"train": {f"q{n}": {f"d{n}": 1} for n in range(judged)}},
        )
        self.config = SimpleNamespace(seed=0)
        self.sources = ("knows queries", "knows titles")
        self.texts = training_texts(self.collection, limit=None, seed=0)
        self.asked: list[str] = []

    def wanted(self) -> list[Any]:
        """See ``Setup``."""
        return self.texts

    def said(self, place: int, texts: Sequence[str], role: str) -> Vectors:
        """See ``Setup``: a text that is known lies at its document."""
        self.asked += texts if role == "query" else []
        return np.stack([self._vector(place, text, role) for text in texts])

    def _vector(self, place: int, text: str, role: str) -> Vectors:
        kind, _, rest = text.partition(" ")
        known = role == "passage" or kind == ("asked", "title")[place]
        number = int("".join(filter(str.isdigit, rest)) or -1)
        seed = number if known else 10**6 + 2 * number + place
        drawn = np.random.default_rng(abs(seed)).standard_normal(32).astype(np.float32)
        return drawn / np.float32(np.linalg.norm(drawn))


@pytest.mark.parametrize("documents", [200, 5000])
def test_judged_queries_are_asked_where_there_are_enough(documents: int) -> None:
    panel = Panel(documents, judged=80)
    weights = choose_weights(panel)  # type: ignore[arg-type]
    assert weights[0] > 0.9
    assert {text.partition(" ")[0] for text in panel.asked} == {"asked"}
    assert len(set(panel.asked)) == 80  # however few of the documents are drawn


def test_else_pieces_that_training_leaves_out() -> None:
    panel = Panel(600, judged=20)
    assert choose_weights(panel)[1] > 0.6  # type: ignore[arg-type]
    learnt = [item.text for item in panel.texts]
    assert set(panel.asked) <= set(learnt)
    assert len(set(panel.asked)) < 0.06 * len(learnt)


def test_with_nothing_to_ask_teachers_count_alike() -> None:
    panel = Panel(30, judged=0)
    panel.texts = []
    assert choose_weights(panel) == (0.5, 0.5)  # type: ignore[arg-type]


def test_factors_are_the_same_where_everything_is_found_anyway() -> None:
    """Right documents first throughout: without the ridge the loss would be flat."""
    rng = np.random.default_rng(0)
    relevant = np.eye(40, dtype=bool)
    scores = np.stack([5 * relevant + 0.1 * rng.random((40, 40)) for _ in range(2)])
    one = fit_factors(scores, relevant)
    np.testing.assert_allclose(fit_factors(scores[::-1], relevant)[::-1], one, rtol=1e-3)
    np.testing.assert_allclose(fit_factors(scores + 7, relevant), one, rtol=1e-3)
    np.testing.assert_allclose(fit_factors(10 * scores, relevant), one / 10, rtol=1e-3)
