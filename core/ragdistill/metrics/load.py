"""How a system does when several ask at once: latency under load, and throughput.

The loop is closed: each thread sends its next request as soon as its last one is answered, so that as many
requests as there are threads are always under way. PyTorch, ONNX Runtime, FAISS and the tokenizers give
Python's lock back while they compute, as they do in a server.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Barrier, Lock, Thread
from time import perf_counter
from typing import Any

from ragdistill.metrics.latency import percentiles

_WARM = 2
"""Requests of each thread that are not counted."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request, answered or failed."""

    number: int
    started: float
    """Seconds after the first of all was sent."""
    seconds: float
    error: str = ""


def ask(
    serve: Callable[[int], object],
    requests: int,
    *,
    threads: int,
    done: Callable[[], object] = lambda: None,
) -> list[Served]:
    """Have every request answered once, ``threads`` at a time; the list is in the order of the numbers.

    Each thread warms up with two requests that are not counted, and none goes on before all have.

    Args:
        serve: answers the request of a number below ``requests``; called by several threads. Whatever
            it raises is noted as an error.
        requests: how many there are.
        threads: how many are under way at once.
        done: called after each request that is counted.

    Raises:
        ValueError: no request, or no thread.
        BaseException: what ``serve`` raises that is no :class:`Exception` (a library panics); no more is asked.
    """
    if requests < 1 or threads < 1:
        raise ValueError(f"{requests} requests cannot be asked by {threads} threads")
    clock = _Clock()
    ready, left = Barrier(threads, action=clock.start), _Shared(requests)
    found: list[Served] = []
    broken: list[BaseException] = []

    def work(place: int) -> None:
        try:
            for turn in range(_WARM):
                clock.served(serve, (place * _WARM + turn) % requests)
            ready.wait()
            for number in left:
                found.append(clock.served(serve, number))
                done()
        except BaseException as raised:  # noqa: BLE001 - raised again in the thread that waits
            broken.append(raised)
            ready.abort()  # or the others would wait for this one for ever
            left.end()

    workers = [Thread(target=work, args=(place,), daemon=True) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if broken:
        raise broken[0]
    return sorted(found, key=lambda each: each.number)


class _Clock:
    """Seconds since all were ready."""

    def __init__(self) -> None:
        self._zero = perf_counter()

    def start(self) -> None:
        """From now on it counts."""
        self._zero = perf_counter()

    def served(self, serve: Callable[[int], object], number: int) -> Served:
        """What came of a request, and when."""
        started, error = perf_counter(), ""
        try:
            serve(number)
        except Exception as raised:  # noqa: BLE001 - whatever a system does with a request
            error = " ".join(str(raised).split()) or type(raised).__name__
        return Served(number, started - self._zero, perf_counter() - started, error)


class _Shared:
    """Numbers that several threads share out among themselves."""

    def __init__(self, count: int) -> None:
        self._numbers, self._lock = iter(range(count)), Lock()

    def end(self) -> None:
        """There are no more."""
        with self._lock:
            self._numbers = iter(range(0))

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            yield number


def figures(served: Sequence[Served]) -> dict[str, Any]:
    """``p50_ms``, ``p95_ms`` and ``p99_ms`` of what was answered (None where there is too little),
    ``per_second``, the requests answered a second from the first that was sent to the last that ended,
    ``requests`` and ``errors``."""
    fine = [each.seconds for each in served if not each.error]
    whole = max((each.started + each.seconds for each in served), default=0.0)
    return {
        **(percentiles(fine) if fine else dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))),
        "per_second": len(fine) / max(whole, 1e-9),
        "requests": len(served),
        "errors": len(served) - len(fine),
    }
