"""Which student loses what: effects of swapping parts, from values per query of each mix.

A *main effect* is what a part's student changes, on average over all mixes of the others. An
*interaction* is by how much two students together change more than the sum of what each changes
alone: ``(both - one) - (other - none)``, on average over the mixes of the rest; below 0, they are bad
together. (Box, Hunter and Hunter: Statistics for Experimenters, 2005, chapter 5, whose interaction
is half of this. With columns of -1/2 and 1/2, least squares gives the same figures.)

Every effect is one number for each query, so its interval is that of a mean, by the paired
studentised bootstrap. Which of them are not 0 is Holm's to say of tests that flip the signs of queries
(Fisher's randomisation; Smucker, Allan, Carterette: A comparison of statistical significance tests for
information retrieval evaluation, CIKM 2007): they are sound for few queries of which nearly all say the
same, where resamples of a single value leave the bootstrap without a scale.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.exact import flipped, holm
from ragdistill.metrics.studentised import studentised
from ragdistill.metrics.verdict import ALPHA

Values = NDArray[np.float64]
Mix = frozenset[str]
"""The parts that are the student's; all others are the teacher's."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a student, or two together, change of a measure; below 0 is a loss."""

    parts: tuple[str, ...]
    """One part: main effect. Two: their interaction. More: what is left of all together."""
    value: float
    """In units of the measure, mean over queries."""
    share: float | None
    """Of the mean of the teacher's stack; None where that is 0."""
    ci95: tuple[float, float] | None
    """None where it cannot be told."""
    p: float
    """Two-sided, of this one alone."""
    certain: bool
    """Whether it is not 0, all effects tested together (Holm, 5 %)."""


@dataclass(frozen=True, slots=True)
class Effects:
    """All effects of a swap matrix on one measure."""

    measure: str
    queries: int
    teacher: float
    """Mean of the stack of teachers."""
    student: float | None
    """Mean of the stack of students; None where it was not run."""
    main: list[Effect]
    interactions: list[Effect]
    sentence: str
    """What people are told."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; unknown is null, intervals and parts are lists."""
        told = asdict(self)
        for effect in [*told["main"], *told["interactions"]]:
            effect["parts"] = list(effect["parts"])
            effect["ci95"] = effect["ci95"] and list(effect["ci95"])
        return told


def effects(cells: Mapping[Mix, Values], measure: str, seed: int) -> Effects:
    """Main effects and interactions of a swap matrix.

    Args:
        cells: by mix, the measure's values per query ``[q]``, the queries the same and in the same
            order. All 2^n mixes; or one at a time: none, each part alone, and, if it is there, all,
            whose only interaction is what is left of the sum.
        seed: of the resampling.

    Raises:
        ValueError: a mix is missing, there is no part, or values do not pair up or are not finite.
    """
    parts = sorted(set().union(*cells))
    if not parts:
        raise ValueError("no part is swapped")
    contrasts = _contrasts(parts, set(cells))
    values = _stacked(cells)
    base = float(values[Mix()].mean())
    found = [_effect(names, weights, values, base, seed) for names, weights in contrasts]
    sure = holm([effect.p for effect in found], ALPHA)
    told = [_settled(effect, certain) for effect, certain in zip(found, sure, strict=True)]
    main = [effect for effect in told if len(effect.parts) == 1]
    joint = [effect for effect in told if len(effect.parts) > 1]
    everything = values.get(Mix(parts))
    student = None if everything is None else float(everything.mean())
    queries = len(values[Mix()])
    return Effects(measure, queries, base, student, main, joint, sentence(measure, main, joint))


def _contrasts(
    parts: Sequence[str], known: set[Mix]
) -> list[tuple[tuple[str, ...], dict[Mix, float]]]:
    """Each effect's name and the weight of every mix in it."""
    every = {Mix(chosen) for chosen in _subsets(parts)}
    single = {Mix(), *(Mix([part]) for part in parts)}
    if every <= known:
        pairs = itertools.combinations(parts, 2)
        return [(names, _factorial(names, parts)) for names in [*((p,) for p in parts), *pairs]]
    if not single <= known:
        missing = min(sorted(mix) for mix in single - known)
        raise ValueError(f"no values of the mix with {missing or 'no'} student")
    found: list[tuple[tuple[str, ...], dict[Mix, float]]] = [
        ((part,), {Mix([part]): 1.0, Mix(): -1.0}) for part in parts
    ]
    if Mix(parts) in known:
        left = {Mix([part]): -1.0 for part in parts}
        found.append((tuple(parts), {Mix(parts): 1.0, Mix(): len(parts) - 1.0, **left}))
    return found


def _subsets(parts: Sequence[str]) -> Iterable[tuple[str, ...]]:
    sizes = range(len(parts) + 1)
    return itertools.chain.from_iterable(itertools.combinations(parts, size) for size in sizes)


def _factorial(names: tuple[str, ...], parts: Sequence[str]) -> dict[Mix, float]:
    """The difference (of differences) of ``names``, on average over all mixes of the others."""
    average = 1 / 2 ** (len(parts) - len(names))
    return {
        Mix(chosen): average * (-1) ** sum(name not in chosen for name in names)
        for chosen in _subsets(parts)
    }


def _stacked(cells: Mapping[Mix, Values]) -> dict[Mix, Values]:
    values = {mix: np.asarray(cell, np.float64) for mix, cell in cells.items()}
    shapes = {cell.shape for cell in values.values()}
    if len(shapes) > 1 or any(cell.ndim != 1 or not len(cell) for cell in values.values()):
        raise ValueError(f"values per query do not pair up: {sorted(shapes)}")
    if not all(np.isfinite(cell).all() for cell in values.values()):
        raise ValueError("a value per query is NaN or infinite")
    return values


def _effect(
    names: tuple[str, ...],
    weights: Mapping[Mix, float],
    values: Mapping[Mix, Values],
    base: float,
    seed: int,
) -> Effect:
    by_query = sum(weight * values[mix] for mix, weight in weights.items())
    by_query = np.asarray(by_query)
    # Sums of values that cancel leave what rounding does: that is no spread, and no effect.
    scale = max(float(np.abs(cell).max()) for cell in values.values())
    by_query[np.abs(by_query) < 1e-12 * scale] = 0.0
    found, p = studentised(by_query, seed), flipped(by_query, seed)
    share = found.mean / base if base else None
    return Effect(names, found.mean, share, found.bounds(ALPHA / 2), p, False)


def _settled(effect: Effect, certain: bool) -> Effect:
    told = {name: getattr(effect, name) for name in Effect.__dataclass_fields__}
    return Effect(**told | {"certain": certain})


def sentence(measure: str, main: Sequence[Effect], joint: Sequence[Effect]) -> str:
    """Names the students that lose, worst first, and pairs that are bad together."""
    losers = sorted((e for e in main if e.certain and e.value < 0), key=lambda e: e.value)
    quiet = [effect.parts[0] for effect in main if not effect.certain]
    gains = [effect for effect in main if effect.certain and effect.value > 0]
    said = [f"the {effect.parts[0]}'s student loses {_told(effect, measure)}" for effect in losers]
    said += [f"the {effect.parts[0]}'s student gains {_told(effect, measure)}" for effect in gains]
    if quiet:
        said.append(f"no change is certain of {_listed(quiet)}")
    for effect in sorted(joint, key=lambda e: e.value):
        if effect.certain:
            names = _listed(effect.parts)
            way = "lose" if effect.value < 0 else "lose less by"
            more = " more" if effect.value < 0 else ""
            said.append(f"{names} together {way} {_told(effect, measure)}{more} than apart")
    return "; ".join(said)


def _told(effect: Effect, measure: str) -> str:
    amount = f"{abs(effect.value):.3f} of {measure}"
    if effect.ci95 is None:
        return amount
    low, high = sorted(abs(end) for end in effect.ci95)
    return f"{amount} ({low:.3f} to {high:.3f})"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
