"""Effects of a swap matrix: worked by hand, by least squares, and named in a sentence."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from ragdistill.rag.effects import Mix, effects

Cells = dict[Mix, NDArray[np.float64]]


def factorial(parts: str, queries: int, seed: int) -> Cells:
    """Random values of every mix of ``parts``."""
    random = np.random.default_rng(seed)
    sizes = range(len(parts) + 1)
    mixes = itertools.chain.from_iterable(itertools.combinations(parts, size) for size in sizes)
    return {Mix(mix): random.uniform(size=queries) for mix in mixes}


def test_two_parts_by_hand() -> None:
    """0.8 by teachers, 0.7 and 0.6 with one student, 0.3 with both. Main: (-0.1 - 0.3) / 2 and
    (-0.2 - 0.4) / 2; together 0.3 - 0.7 - 0.6 + 0.8 = -0.2. Main effects add up to the whole loss."""
    noise = np.tile([-0.01, 0.01], 40)
    level = {(): 0.8, ("a",): 0.7, ("b",): 0.6, ("a", "b"): 0.3}
    found = effects({Mix(mix): value + noise for mix, value in level.items()}, "F1", seed=0)
    assert [effect.value for effect in found.main] == pytest.approx([-0.2, -0.3])
    assert [effect.value for effect in found.interactions] == pytest.approx([-0.2])
    assert sum(effect.value for effect in found.main) == pytest.approx(0.3 - 0.8)
    assert found.main[1].share == pytest.approx(-0.375)
    assert (found.teacher, found.student) == (pytest.approx(0.8), pytest.approx(0.3))
    assert found.sentence == (
        "the b's student loses 0.300 of F1 (0.300 to 0.300); the a's student loses 0.200 of F1 "
        "(0.200 to 0.200); a and b together lose 0.200 of F1 (0.200 to 0.200) more than apart"
    )


def test_three_parts_by_hand() -> None:
    """a: -1, -3, -1, -3 over the mixes of b and c; b and c never meet."""
    level = {"": 10, "a": 9, "b": 8, "c": 7, "ab": 5, "ac": 6, "bc": 5, "abc": 2}
    found = effects({Mix(mix): np.full(5, float(v)) for mix, v in level.items()}, "x", seed=0)
    assert {e.parts[0]: e.value for e in found.main} == {"a": -2, "b": -3, "c": -3}
    assert {e.parts: e.value for e in found.interactions} == {
        ("a", "b"): -2, ("a", "c"): 0, ("b", "c"): 0,
    }  # fmt: skip


@pytest.mark.parametrize("parts", ["ab", "abc", "abcd"])
def test_least_squares_gives_the_same(parts: str) -> None:
    """Columns of -1/2 and 1/2 and all their products: coefficients are the effects."""
    cells = factorial(parts, queries=6, seed=1)
    signs = {mix: np.array([0.5 if part in mix else -0.5 for part in parts]) for mix in cells}
    terms = [t for n in range(len(parts) + 1) for t in itertools.combinations(range(len(parts)), n)]
    rows = [[np.prod(signs[mix][list(term)]) for term in terms] for mix in cells for _ in range(6)]
    y = np.concatenate(list(cells.values()))
    fit = dict(zip(terms, np.linalg.lstsq(np.array(rows), y)[0], strict=True))
    found = effects(cells, "x", seed=0)
    assert len(found.interactions) == len(parts) * (len(parts) - 1) // 2
    for effect in [*found.main, *found.interactions]:
        assert effect.value == pytest.approx(fit[tuple(parts.index(name) for name in effect.parts)])


def test_one_at_a_time() -> None:
    """Parts alone against the teacher, and what is left of all together."""
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    cells = {
        Mix(): 0.8 + noise,
        Mix("a"): 0.7 + noise,
        Mix("b"): 0.79 + noise,
        Mix("c"): 0.8 + noise,
    }
    found = effects(cells, "F1", seed=0)
    assert [effect.value for effect in found.main] == pytest.approx([-0.1, -0.01, 0])
    assert (found.interactions, found.student) == ([], None)
    assert "no change is certain of c" in found.sentence
    whole = effects(cells | {Mix("abc"): 0.6 + noise}, "F1", seed=0)
    assert [(e.parts, round(e.value, 6)) for e in whole.interactions] == [(("a", "b", "c"), -0.09)]


def test_few_queries_that_nearly_all_lose_are_enough() -> None:
    """Of 24 queries 22 lose all: so clear a loss is certain, though the bootstrap has no interval."""
    lost = np.repeat([1.0, 0.0], (22, 2))
    (main,) = effects({Mix(): np.ones(24), Mix("a"): 1 - lost}, "F1", seed=0).main
    assert main.certain
    assert main.p < 0.001
    (main,) = effects({Mix(): np.ones(4), Mix("a"): np.zeros(4)}, "F1", seed=0).main
    assert main.p == pytest.approx(2 / 2**4)  # so few cannot tell
    assert not main.certain


def test_intervals_hold_the_truth_and_noise_is_not_blamed() -> None:
    """a loses 0.05 on average, nothing else does anything: of 100 matrices, a's interval misses it
    in about five, and a matrix in which anything else is certain is as rare."""
    random, missed, blamed = np.random.default_rng(4), 0, 0
    for trial in range(100):
        query = random.uniform(size=100)
        cells = {
            mix: query - 0.05 * ("a" in mix) + random.normal(0, 0.05, 100)
            for mix in factorial("abc", 1, 0)
        }
        found = effects(cells, "x", seed=trial)
        assert found.main[0].ci95 is not None
        missed += not found.main[0].ci95[0] <= -0.05 <= found.main[0].ci95[1]
        blamed += any(e.certain for e in [*found.main[1:], *found.interactions])
        assert found.main[0].certain
    assert missed <= 11  # 99 % of draws of 100 at 5 % stay below
    assert blamed <= 11


def test_what_cannot_be_reckoned_is_refused() -> None:
    cells = factorial("ab", 4, 0)
    with pytest.raises(ValueError, match=r"mix with \['b'\]"):
        effects({mix: v for mix, v in cells.items() if mix != Mix("b")}, "x", seed=0)
    with pytest.raises(ValueError, match="no part"):
        effects({Mix(): np.ones(3)}, "x", seed=0)
    with pytest.raises(ValueError, match="pair up"):
        effects(cells | {Mix("a"): np.ones(3)}, "x", seed=0)
    with pytest.raises(ValueError, match="NaN"):
        effects(cells | {Mix("a"): np.full(4, np.nan)}, "x", seed=0)
