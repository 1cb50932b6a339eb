"""How long one text takes, and how many texts a second, of several systems side by side.

The systems take turns in short blocks, so that a machine that slows down or is shared slows all
of them alike, and ratios stay true where single figures may not.
"""

import gc
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from ragdistill.progress import track

Encode = Callable[[list[str]], object]
"""Does the whole work on a list of texts, and returns when it is done (arrays on the CPU)."""

_Work = TypeVar("_Work")
_BLOCK = 10  # calls that one system makes before the next has its turn
_SLOW = 0.5  # seconds
_KEPT = 100  # latencies kept of each system, enough to draw how they are spread


@dataclass(frozen=True, slots=True)
class Speed:
    """Latency of single texts, and throughput in batches."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float
    """Texts a second in batches: the median of the repeats."""
    calls: int
    """How many single-text calls the percentiles are of."""
    texts: int
    """How many texts the throughput was measured on."""
    batch: int
    latencies_ms: tuple[float, ...]
    """Observed latencies of single texts, rising: evenly spaced quantiles, at most a hundred."""

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        return asdict(self) | {"latencies_ms": list(self.latencies_ms)}


def profile(
    encode: Encode,
    texts: Sequence[str],
    *,
    batch: int = 32,
    calls: int = 200,
    warmup: int = 10,
    repeats: int = 3,
) -> Speed:
    """The speed of one system; see :func:`profile_many`."""
    return profile_many(
        {"": encode}, texts, batch=batch, calls=calls, warmup=warmup, repeats=repeats
    )[""]


def profile_many(
    systems: Mapping[str, Encode],
    texts: Sequence[str],
    *,
    batch: int = 32,
    calls: int = 200,
    warmup: int = 10,
    repeats: int = 3,
) -> dict[str, Speed]:
    """The speed of each system on the same texts, measured in turns.

    Args:
        systems: name to what it does on a list of texts.
        texts: latency is of the first ``calls`` (again from the start where there are fewer),
            throughput of all.
        batch: texts per call when throughput is measured.
        calls: single-text calls per system; at least 100, or a 99th percentile means nothing.
        warmup: single-text calls that are not counted, and a fifth as many batches.
        repeats: how often throughput is measured; the median counts.

    Raises:
        ValueError: no texts, or fewer than 100 calls.
    """
    if not texts or calls < 100:
        raise ValueError(f"cannot profile with {len(texts)} texts and {calls} calls")
    singles = [[text] for text in itertools.islice(itertools.cycle(texts), calls)]
    batches = [list(texts[start : start + batch]) for start in range(0, len(texts), batch)]
    with _undisturbed():
        for encode in systems.values():
            for item in singles[:warmup] + batches[: warmup // 5 + 1]:
                encode(item)
        latency = _in_turns(systems, singles)
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(repeats):
            for name, seconds in _in_turns(systems, batches).items():
                rates[name].append(len(texts) / max(sum(seconds), 1e-9))
    return {
        name: _summary(latency[name], rates[name], calls, len(texts), batch) for name in systems
    }


def _in_turns(systems: Mapping[str, Encode], work: Sequence[list[str]]) -> dict[str, list[float]]:
    """Seconds of each call, by system; who goes first changes with every block."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    names = list(systems)
    for turn, start in enumerate(range(0, len(work), _BLOCK)):
        for offset in range(len(names)):
            name = names[(turn + offset) % len(names)]
            if len(names) > 1:
                systems[name](work[start][:1])  # not counted: the caches are another system's
            seconds[name] += _timed(systems[name], work[start : start + _BLOCK])
    return seconds


def _timed(encode: Callable[[_Work], object], work: Iterable[_Work]) -> Iterator[float]:
    for item in work:
        start = perf_counter()
        encode(item)
        yield perf_counter() - start


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection inside, as timeit does it."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _summary(
    seconds: Sequence[float], rates: Sequence[float], calls: int, texts: int, batch: int
) -> Speed:
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)) * 1000)
    return Speed(p50, p95, p99, float(np.median(rates)), calls, texts, batch, thinned(seconds))


def thinned(seconds: Sequence[float]) -> tuple[float, ...]:
    """Milliseconds, rising: the middle one of each of ``_KEPT`` equal parts."""
    count = min(_KEPT, len(seconds))
    shares = (np.arange(count) + 0.5) / count
    found = np.quantile(seconds, shares, method="inverted_cdf")
    return tuple(float(f"{1000 * each:.4g}") for each in found)


def profile_requests(
    systems: Mapping[str, Callable[[int], object]],
    requests: int,
    *,
    items: int,
    seconds: float = 20.0,
) -> dict[str, dict[str, Any]]:
    """How long whole requests take (a query with its candidates, say), the systems taking turns.

    Args:
        systems: name to what it does on the request of a number below ``requests``.
        requests: how many different ones there are.
        items: what is worked through in each: ``per_second`` is of those.
        seconds: about how long each system is measured, at least three calls and at most 200.

    Returns:
        As :meth:`Speed.as_json`, but that a 95th percentile of fewer than 20 calls and a 99th of fewer
        than 100 is None.
    """
    taken: dict[str, list[float]] = {}
    left: dict[str, int] = {}
    with _undisturbed():
        for name, serve in systems.items():
            *_, second = _timed(serve, [0, 1 % requests])  # the first loads what is loaded once
            # What takes long is not thrown away.
            taken[name] = [second] if second > seconds / _BLOCK else []
            left[name] = max(3, min(200, round(seconds / max(second, 1e-6)))) - len(taken[name])
        _take_turns(systems, requests, taken, left)
    return {name: _request_summary(each, items) for name, each in taken.items()}


def _take_turns(
    systems: Mapping[str, Callable[[int], object]],
    requests: int,
    taken: Mapping[str, list[float]],
    left: dict[str, int],
) -> None:
    """Add the seconds of the calls that are ``left`` to those ``taken``."""
    number = 0
    with track("timed requests", sum(left.values()), refreshing=False) as advance:
        while any(left.values()):
            for name, serve in systems.items():
                block = range(number, number + min(_BLOCK, left[name]))
                told = 0
                for done, call in enumerate(block, start=1):
                    taken[name].extend(_timed(serve, [call % requests]))
                    if (
                        taken[name][-1] > _SLOW
                    ):  # drawn between quick calls, a bar would show in them
                        advance(done - told, 0)
                        told = done
                advance(len(block) - told, 0)
                left[name] -= len(block)
            number += _BLOCK


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """``p50_ms``, ``p95_ms`` and ``p99_ms`` of so many ``seconds``; those that fewer than 20, and fewer
    than 100, cannot tell are None."""
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)) * 1000)
    few, some = len(seconds) < 20, len(seconds) < 100
    return {"p50_ms": p50, "p95_ms": None if few else p95, "p99_ms": None if some else p99}


def _request_summary(seconds: Sequence[float], items: int) -> dict[str, Any]:
    return {
        **percentiles(seconds),
        "per_second": items / max(float(np.median(seconds)), 1e-9),
        "calls": len(seconds),
        "requests": True,
        "texts": items,
        "batch": items,
        "latencies_ms": list(thinned(seconds)),
    }
