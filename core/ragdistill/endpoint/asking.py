"""Many requests at once, bounded in number and by the budget; every answer is handed on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TypeVar

from ragdistill.endpoint.spend import Ask, OverBudget
from ragdistill.errors import UserError

_SPARE_TOKENS = 4
"""Special tokens of a text, at the most."""
_TOKEN_BYTES = 3
"""UTF-8 bytes of a token, to estimate with: four in English, three in code and in Chinese."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Request:
    """Texts that are sent together."""

    places: list[int]
    """Where they stand among all that are asked about."""
    texts: list[str]
    tokens: list[int]
    """What each is thought to have."""
    beside: str = ""
    """What is read with each of them, such as the query that a reranker holds documents against."""
    writes: int = 0
    """Tokens that may be written of each."""

    @property
    def ask(self) -> Ask:
        """It in figures. No tokenizer in use makes more of a text than a token of each byte."""
        least = _bytes(self.beside) + _SPARE_TOKENS
        most = sum(_bytes(text) + least for text in self.texts)
        writes = len(self.texts) * self.writes
        return Ask(len(self.texts), min(sum(self.tokens), most) + writes, most + writes, writes)

    def parts(self, size: int) -> "Iterator[Request]":
        """It in requests of at most ``size`` texts, in their order."""
        for start in range(0, len(self.texts), size):
            part = slice(start, start + size)
            yield replace(
                self,
                places=self.places[part],
                texts=self.texts[part],
                tokens=self.tokens[part],
            )

    def halves(self) -> "Iterator[Request]":
        """It in two."""
        return self.parts(-(-len(self.texts) // 2))


def estimate(text: str) -> int:
    """Tokens that a text is thought to have, where no tokenizer is known."""
    return -(-_bytes(text) // _TOKEN_BYTES)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def requests(
    texts: Sequence[str], tokens: Sequence[int], size: int, *, writes: int = 0
) -> Iterator[Request]:
    """All ``texts`` in their order, ``size`` to a request."""
    places = list(range(len(texts)))
    return Request(places, list(texts), list(tokens), writes=writes).parts(size)


def ask_all(
    wanted: Iterable[Request],
    ask: Callable[[Request], Answer],
    *,
    connections: int,
    stop: Callable[[], None],
    over_budget: Callable[[], UserError],
) -> Iterator[tuple[Request, Answer]]:
    """Requests and their answers, in the order in which these come in.

    When one fails for good, or on Ctrl-C, nothing more is sent; what is under way was paid for, so it
    is handed on before the failure is raised. A request that might exceed the budget waits for those
    under way, which may turn out cheaper than they might have been, and then goes in halves.

    Raises:
        UserError: ``ask``'s, or ``over_budget`` when not even one text fits in.
    """
    queue, running = deque(wanted), dict[Future[Answer], Request]()
    failure: BaseException | None = None
    with ThreadPoolExecutor(connections) as pool:
        try:
            while running or (queue and failure is None):
                while queue and failure is None and len(running) < connections:
                    request = queue.popleft()
                    running[pool.submit(ask, request)] = request
                try:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    failure = failure or interrupt
                    stop()
                    continue
                for future in done:
                    request = running.pop(future)
                    error = future.exception()
                    if error is None:
                        yield request, future.result()
                    elif not isinstance(error, OverBudget):
                        failure = failure or error
                        stop()
                    elif running or connections > 1:
                        queue.appendleft(request)
                        connections = 1
                    elif len(request.texts) > 1:
                        queue.extendleft(reversed(list(request.halves())))
                    else:
                        failure = failure or over_budget()
        finally:
            stop()
    if failure is not None:
        raise failure
