"""One stage of a stack on all queries: what is known is taken from the cache, what is not is asked of the
part, one request at a time, and timed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, ClassVar

from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.progress import track
from ragdistill.rag.cache import Cache, Said, request_key, said
from ragdistill.rag.retrieval import Ranking
from ragdistill.rag.serving import Role
from ragdistill.signals.store import Space, Writer

_AT_ONCE = 256
"""Queries whose documents are prepared together, which bounds the memory that they take."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the stages of one mix have made of one query so far."""

    query: Query
    question: str
    """The query as the stages after the rewriter see it."""
    found: Ranking = ()
    """What retrieval found, best first."""
    ranked: Ranking = ()
    """What is left after reranking; without a reranker all that was found."""
    contexts: tuple[str, ...] = ()
    """What the generator read."""
    answer: str | None = None
    seconds: Mapping[Role, float] = field(default_factory=dict)
    error: str = ""
    """``ROLE: what it said`` of the part that failed; nothing was asked of the parts after it."""
    anchor: int = 0
    """How far down a rewritten question may find what the query finds first; 0: that counts for nothing."""
    log_probability: float | None = None
    """Of the answer's tokens, their mean; None where the generator does not say."""


class Stage(ABC):
    """A part at work in a mix."""

    role: ClassVar[Role]
    documents: int = 0
    """Texts that it works through once, whatever is asked."""

    def __init__(self, name: str, fingerprint: str) -> None:
        """``fingerprint``: of all that changes what the part says to a request."""
        self.name, self.fingerprint = name, fingerprint

    @property
    def identity(self) -> str:
        """Digest of all that changes what the stage makes of a query."""
        return self.fingerprint

    @abstractmethod
    def load(self) -> None:
        """Have the part ready."""

    @abstractmethod
    def close(self) -> None:
        """Give its memory back."""

    @abstractmethod
    def request(self, seen: Seen) -> list[Any]:
        """What is asked, as plain JSON values."""

    @abstractmethod
    def answer(self, seen: Seen) -> Any:
        """Ask the part; what it says, as plain JSON."""

    @abstractmethod
    def take(self, seen: Seen, value: Any) -> Seen:
        """``seen`` with what the part said."""

    def units(self, seen: Seen) -> list[bytes]:
        """The smallest pieces of work that answering takes: what is known of them is not asked again."""
        return [request_key(*self.request(seen))]

    def opened(self, cache: Cache, asked: Sequence[Seen]) -> "Asking":
        """What asks for what is not known of ``asked``."""
        return Asking(self, cache.requests(self.fingerprint))

    def run(self, seen: Sequence[Seen], cache: Cache) -> list[Seen]:
        """What the stage makes of each query; one that failed already is left as it is.

        Raises:
            UserError: the part fails on every query, or the cache cannot be written.
        """
        keys = [b"" if each.error else request_key(*self.request(each)) for each in seen]
        space = cache.requests(self.fingerprint)
        known = said(space, [key for key in keys if key])
        new = {key: each for key, each in zip(keys, seen, strict=True) if key and key not in known}
        errors: dict[bytes, str] = {}
        if new:
            self.load()
            asking = self.opened(cache, list(new.values()))
            known, errors = known | asking.ask(new), asking.errors
        if errors and not any(key in known for key in keys):
            raise UserError(
                f"the {self.role} {self.name} failed on every query: {next(iter(errors.values()))}"
            )
        return [self._taken(each, key, known, errors) for each, key in zip(seen, keys, strict=True)]

    def _taken(
        self, seen: Seen, key: bytes, known: Mapping[bytes, Said], errors: Mapping[bytes, str]
    ) -> Seen:
        if not key:
            return seen
        if key in errors:
            return replace(seen, error=f"{self.role}: {errors[key]}")
        told = known[key]
        return replace(
            self.take(seen, told.value), seconds={**seen.seconds, self.role: told.seconds}
        )


class Asking:
    """Asks what is not known yet, and keeps each answer as soon as it is there."""

    def __init__(self, stage: Stage, space: Space) -> None:
        self.stage, self.space = stage, space
        self.errors: dict[bytes, str] = {}

    def ask(self, new: Mapping[bytes, Seen]) -> dict[bytes, Said]:
        """What is said to each request; a part that fails on one is asked for the others all the same."""
        stage, found, left = self.stage, dict[bytes, Said](), list(new)
        with (
            track(f"{stage.role} ({stage.name})", len(new)) as advance,
            self.space.writer() as taker,
        ):
            for start in range(0, len(left), _AT_ONCE):
                keys = left[start : start + _AT_ONCE]
                self.prepare([new[key] for key in keys])
                for key in keys:
                    try:
                        told = self.said(new[key])
                    except Exception as error:  # noqa: BLE001 - whatever a part does with a query
                        self.errors[key] = " ".join(str(error).split()) or type(error).__name__
                    else:
                        self.keep(taker, key, new[key], told)
                        found[key] = told
                    advance(1, 0)
        return found

    def prepare(self, asked: Sequence[Seen]) -> None:
        """Get ready for these."""

    def said(self, seen: Seen) -> Said:
        """Ask, and time it."""
        started = perf_counter()
        value = self.stage.answer(seen)
        return Said(value, perf_counter() - started)

    def keep(self, taker: Writer, key: bytes, seen: Seen, told: Said) -> None:
        """Store what was said."""
        taker.append([key], [told.dumps()])
