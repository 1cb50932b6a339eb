"""Scores of pairs of a query and a document, kept in the signal store by their content."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, pair_key
from ragdistill.signals.store import Space

Pair = tuple[str, str]
"""A query and a document."""
Scores = NDArray[np.float32]
By = Literal["document", "query"]
"""What pairs are put together by: a model that is here reads a document for many queries at once, a server
takes many documents of a query in a request."""
AT_ONCE = 8192
"""Pairs that are asked for at a time: enough that a document is read for many queries at
once, and few enough that memory does not grow with the candidates."""


class Scorer(Protocol):
    """Says how well documents answer queries. What it said is stored under its fingerprint."""

    @property
    def name(self) -> str:
        """What plans and reports call it."""

    @property
    def known_as(self) -> str:
        """What the store knows it by: other weights behind this name are refused."""

    @property
    def by(self) -> By:
        """What pairs are to come together by."""

    @property
    def scale(self) -> str:
        """What its scores are: logit, probability, log-odds, log-likelihood or cosine."""

    @property
    def digest(self) -> str:
        """What a run folder is held to."""

    def meet(self, needed: Callable[[], bool]) -> None:
        """Let it show who it is, before its space is opened; ``needed``: whether something is still to be
        asked of it."""

    def fingerprint(self) -> Fingerprint:
        """What identifies its scores."""

    def usd(self, tokens: int) -> float | None:
        """What so many tokens cost; None where no price is known."""

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """Places in ``pairs``, their scores and the tokens read for them, batch by batch, as soon as
        each is scored.

        Raises:
            UserError: it does not answer, or must not be asked for more.
        """

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> "Forecast":
        """What ``answers`` of each window would take."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Tokens that a teacher would read, and the seconds that takes here; None where that cannot be
    told."""

    tokens: int
    seconds: float | None


Batch = TypeVar("Batch")


def forecast(
    batches: Iterable[Batch],
    size: Callable[[Batch], int],
    run: Callable[[Batch], object],
    *,
    probes: int = 8,
) -> Forecast:
    """By running some of ``batches``, evenly spread. What is loaded for the first is loaded once, and
    counted once.

    Args:
        size: tokens of a batch.
        run: has the teacher read one.
        probes: how many are run, about.
    """
    tokens, step = 0, 1
    kept: list[Batch] = []
    for number, batch in enumerate(batches):
        tokens += size(batch)
        if number % step == 0:
            kept.append(batch)
        if len(kept) > 2 * probes:  # all of them would be all texts once more
            kept, step = kept[::2], 2 * step
    chosen = kept[:: max(1, len(kept) // probes)]
    if not chosen:
        return Forecast(0, 0.0)
    started = perf_counter()
    run(chosen[0])
    loaded = perf_counter()
    for batch in chosen:
        run(batch)
    rate = (perf_counter() - loaded) / sum(map(size, chosen))
    loading = max(0.0, loaded - started - rate * size(chosen[0]))
    return Forecast(tokens, loading + rate * tokens)


@dataclass(frozen=True, slots=True)
class Collected:
    """What the teacher was asked in this start."""

    pairs: int
    tokens: int


def windows(pairs: Sequence[Pair], by: By) -> Iterator[list[Pair]]:
    """``pairs``, each once, in the order in which a teacher is asked."""
    first = 1 if by == "document" else 0
    wanted = sorted(dict.fromkeys(pairs), key=lambda pair: (pair[first], pair[1 - first]))
    for start in range(0, len(wanted), AT_ONCE):
        yield wanted[start : start + AT_ONCE]


def unscored(scorer: Scorer, pairs: Sequence[Pair], space: Space) -> Iterator[list[Pair]]:
    """Those that are not stored yet, window by window."""
    for window in windows(pairs, scorer.by):
        missing = space.missing([pair_key(*pair) for pair in window])
        yield [window[place] for place in missing]


def collect(scorer: Scorer, pairs: Sequence[Pair], space: Space) -> Collected:
    """Have every pair scored that is not stored yet, each once; a batch is stored as soon as it is
    scored, so that a killed collection loses at most the batch that the teacher was working on.

    Raises:
        UserError: the teacher does not answer, or returned NaN or infinity; the store cannot be
            written.
    """
    asked = tokens = 0
    with track("teacher", len(set(pairs))) as advance, space.writer() as writer:
        for window in windows(pairs, scorer.by):
            keys = [pair_key(*pair) for pair in window]
            missing = space.missing(keys)
            advance(len(window) - len(missing), 0)
            asked += len(missing)
            for places, scores, count in scorer.answers([window[place] for place in missing]):
                writer.append([keys[missing[place]] for place in places], scores)
                tokens += count
                advance(len(places), count)
    return Collected(asked, tokens)


def stored(space: Space, pairs: Sequence[Pair]) -> Scores:
    """The scores of ``pairs``, float32 ``[n]``."""
    scores: Scores = space.get([pair_key(*pair) for pair in pairs])
    return np.asarray(scores, dtype=np.float32)
