"""Several teachers as one: what is learnt of them, how much each counts, what each is asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from ragdistill.cli import main
from ragdistill.metrics.retrieval import Vectors
from ragdistill.metrics.trec import read
from ragdistill_embedder.panel import Joined
from ragdistill_embedder.weighing import fit_weights
from tiny_models import save_searched, save_tiny


class Held:
    """Vectors by their place."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def get(self, keys: Any) -> Vectors:
        """See ``Readable``."""
        return self.vectors[[int.from_bytes(key, "big") for key in keys]]


def drawn(*shape: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unit(vectors: Vectors) -> Vectors:
    made: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return made


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_cosines_of_joined_vectors_are_the_weighted_mean_of_the_teachers(
    share: float, seed: int
) -> None:
    one, two = drawn(7, 5, seed=seed), 9 * drawn(7, 3, seed=seed + 1)
    joined = Joined([Held(one), Held(two)], [share, 1 - share])
    found = joined.get([bytes([place]) for place in range(7)])
    wanted = share * unit(one) @ unit(one).T + (1 - share) * unit(two) @ unit(two).T
    assert found.shape == (7, 8)
    np.testing.assert_allclose(found @ found.T, wanted, atol=1e-5)


def likelihood(cosines: Any, relevant: Any, factors: Any) -> float:
    logits = np.tensordot(factors, cosines, axes=1)
    return float(log_softmax(logits, axis=1)[relevant].mean())


def test_weights_are_those_under_which_the_right_documents_are_likeliest() -> None:
    count = 60
    documents = unit(drawn(count, 16))
    clear = unit(documents + 0.25 * drawn(count, 16, seed=1)) @ documents.T
    dim = unit(documents + 0.5 * drawn(count, 16, seed=2)) @ documents.T
    cosines = np.stack([clear, dim]).astype(np.float64)
    relevant = np.eye(count, dtype=bool)
    one, two = fit_weights(cosines, relevant)
    assert one + two == pytest.approx(1)
    assert one > two > 0
    best = max(
        (likelihood(cosines, relevant, [a, b]), a / (a + b))
        for a in np.linspace(0.5, 40, 80)
        for b in np.linspace(0.5, 40, 80)
    )
    assert one == pytest.approx(best[1], abs=0.03)
    assert fit_weights(cosines[::-1], relevant) == pytest.approx((two, one), abs=1e-3)


def test_a_teacher_that_finds_nothing_does_not_count() -> None:
    documents = unit(drawn(50, 16))
    good = unit(documents + 0.3 * drawn(50, 16, seed=1)) @ documents.T
    noise = unit(drawn(50, 16, seed=3)) @ documents.T
    weights = fit_weights(np.stack([noise, good]).astype(np.float64), np.eye(50, dtype=bool))
    assert weights[0] < 0.1
    wrong = fit_weights(np.stack([-good, -good]).astype(np.float64), np.eye(50, dtype=bool))
    assert wrong == (0.5, 0.5)


def test_of_several_right_documents_each_counts() -> None:
    cosines = np.array([[[0.9, 0.8, 0.1, 0.0]], [[0.9, 0.0, 0.1, 0.8]]])
    both = np.array([[True, True, False, False]])
    assert fit_weights(cosines, both)[0] == pytest.approx(1)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path, Path]:
    save_searched(tmp_path / "data", documents=40, queries=10)
    return (
        save_tiny(tmp_path / "one"),
        save_tiny(tmp_path / "two", dimensions=64, seed=1),
        save_tiny(tmp_path / "small", dimensions=16, seed=2),
    )


def run(tmp_path: Path, teacher: str, *more: str, out: str = "run") -> Result:
    words = ["embedder", "--data", str(tmp_path / "data"), "--out", str(tmp_path / out)]
    words += ["--store", str(tmp_path / "store"), "--epochs", "1", "--json", "--teacher", teacher]
    result = CliRunner().invoke(main, [*words, "--student", str(tmp_path / "small"), *more])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.usefixtures("models")
def test_two_teachers_teach_one_student(tmp_path: Path, models: tuple[Path, Path, Path]) -> None:
    one, two, _ = models
    plan = run(tmp_path, f"{one},{two}", "--dry-run").stdout
    assert "ask one for " in plan
    assert "ask two for " in plan
    assert not (tmp_path / "run").exists()
    report = json.loads(run(tmp_path, f"{one},{two}").stdout)
    teacher = report["teacher"]
    assert (teacher["name"], teacher["dimensions"]) == ("one + two", 96)
    assert report["student"]["dimensions"] == 16
    panel = teacher["panel"]
    assert sum(member["weight"] for member in panel) == pytest.approx(1)
    assert "teacher" in report["speed"]
    losses = [row["held_out"] for row in report["training"]["losses"] if "held_out" in row]
    assert losses[-1] < losses[0]
    for member in panel:
        assert len(read(tmp_path / "run" / member["rankings"])) == 10
        assert member["quality"]["nDCG@10"]["teacher"] == report["quality"]["nDCG@10"]["teacher"]
    assert report["training"]["teacher_weights"] == [member["weight"] for member in panel]
    assert '<section id="panel">' in (tmp_path / "run/report.html").read_text()
    # What each said is stored as its own: a run with it alone asks for nothing.
    alone = json.loads(
        run(tmp_path, str(two), "--stages", "collect,train,evaluate", out="a").stdout
    )
    assert alone["stages"]["collect"]["items"] == 0
    own = panel[1]["quality"]["nDCG@10"]["student"]
    assert alone["quality"]["nDCG@10"]["teacher"] == pytest.approx(own, abs=1e-6)


def test_weights_that_are_given_are_kept_to(
    tmp_path: Path, models: tuple[Path, Path, Path]
) -> None:
    one, two, _ = models
    stages = ("--stages", "collect,train,evaluate", "--dims", "16,8")
    given = ("--teacher-weights", "3,1", *stages)
    report = json.loads(run(tmp_path, f"{one},{two}", *given).stdout)
    assert [member["weight"] for member in report["teacher"]["panel"]] == [0.75, 0.25]
    assert set(report["prefixes"]) == {"16", "8"}
    # All but one teacher: the other changes little.
    most = ("--teacher-weights", "1e6,1", *stages)
    nearly = json.loads(run(tmp_path, f"{one},{two}", *most, out="most").stdout)
    row = nearly["teacher"]["panel"][0]["quality"]["nDCG@10"]
    assert row["student"] == pytest.approx(row["teacher"], abs=1e-6)
