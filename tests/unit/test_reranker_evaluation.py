"""What is said of a reranker: its lift, and how alike it is to its teacher."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from ragdistill.data.collection import Document, Query
from ragdistill.first_stage import NONE, Candidates
from ragdistill.metrics.lift import lift
from ragdistill.metrics.retrieval import Task
from ragdistill_reranker.evaluation import agreement, reranked


def test_the_lift_is_shared_out_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 0.6, 300)
    gain = rng.uniform(0, 0.2, 300)
    found = lift(first, first + gain, first + 0.8 * gain, seed=0)
    assert found["teacher"] == pytest.approx(gain.mean())
    assert found["share"] == pytest.approx(0.8)
    assert found["share_ci95"] == pytest.approx([0.8, 0.8], abs=1e-9)
    assert found["teacher_ci95"][0] < gain.mean() < found["teacher_ci95"][1]
    assert found == lift(first, first + gain, first + 0.8 * gain, seed=0)


def test_no_share_is_told_of_no_lift() -> None:
    rng = np.random.default_rng(0)
    first, noise = rng.uniform(size=(2, 50))
    worse = lift(first, first - 0.1, first, seed=0)
    assert worse["share"] is None
    assert worse["share_ci95"] is None
    undecided = lift(first, first + noise - noise.mean() + 1e-3, first, seed=0)
    assert undecided["share_ci95"] is None
    assert undecided["teacher_ci95"][0] < 0


def test_agreement_does_not_depend_on_scale() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(30, 8)).astype(np.float32)
    there = np.ones(teacher.shape, dtype=bool)
    there[0, 5:] = False
    same = agreement(teacher, 7 * teacher - 2, there)
    assert same["spearman"] == pytest.approx(1)
    assert same["kl"] == pytest.approx(0, abs=1e-4)
    other = rng.normal(size=teacher.shape).astype(np.float32)
    found = agreement(teacher, other, there)
    rows = [
        spearmanr(t[mark], s[mark]).statistic
        for t, s, mark in zip(teacher, other, there, strict=True)
    ]
    assert found["spearman"] == pytest.approx(np.mean(rows))
    assert found["kl"] is not None
    assert found["kl"] > 0.1
    assert agreement(teacher, np.zeros_like(teacher), there)["spearman"] is None


def test_what_is_scored_alike_keeps_the_first_stage_s_order() -> None:
    documents = tuple(Document(str(n), "text") for n in range(4))
    task = Task(documents, (Query("q", "text"),), {}, None)
    places = np.array([[2, 0, 3, NONE]])
    candidates = Candidates(places, np.zeros((1, 4), np.float32))
    scores = np.array([[1.0, 5.0, 1.0, 99.0]], np.float32)
    assert [name for name, _ in reranked(task, candidates, scores)["q"]] == ["0", "2", "3"]
