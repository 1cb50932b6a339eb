"""What a teacher writes when it is asked, kept in the signal store by what it was asked.

A request is a conversation: messages as chat templates and chat endpoints have them. What is written
is kept with how it ended, for a reply that was cut off teaches to break off, and one that was refused
teaches nothing; both were paid for, so neither is asked for again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import Space

Messages = Sequence[Mapping[str, str]]
"""A request: its messages in their order, each with ``role`` and ``content``."""
Ending = Literal["stop", "length", "refused"]
"""How a reply ended: of itself, cut off by the limit of tokens, or because it was not to be given."""
AT_ONCE = 2048
"""Requests that are asked for at a time, so that memory does not grow with them."""
_MARK = "\x1e"  # RECORD SEPARATOR: no text has it, and one that does is told apart all the same


@dataclass(frozen=True, slots=True)
class Written:
    """A reply."""

    text: str
    ended: Ending = "stop"

    @property
    def fault(self) -> str | None:
        """Why it is no whole answer: ``length``, ``refused`` or ``empty``; None where it is one."""
        if self.ended != "stop":
            return self.ended
        return None if self.text.strip() else "empty"

    def kept(self) -> str:
        """It as one text of the store: as it is if it ended of itself; else with its ending behind
        a mark."""
        plain = self.ended == "stop" and _MARK not in self.text
        return self.text if plain else f"{self.text}{_MARK}{self.ended}"

    @classmethod
    def of(cls, kept: str) -> "Written":
        """The inverse of ``kept``."""
        text, mark, told = kept.rpartition(_MARK)
        ended = next((item for item in get_args(Ending) if mark and item == told), None)
        return cls(kept) if ended is None else cls(text, ended)


class Writer(Protocol):
    """Replies to requests. What it wrote is stored under its fingerprint."""

    @property
    def name(self) -> str:
        """What plans and reports call it."""

    @property
    def known_as(self) -> str:
        """What the store knows it by: other weights behind this name are refused."""

    @property
    def digest(self) -> str:
        """What a run folder is held to."""

    def meet(self, needed: Callable[[], bool]) -> None:
        """Let it show who it is, before its space is opened; ``needed``: whether something is still to be
        asked of it."""

    def fingerprint(self) -> Fingerprint:
        """What identifies its replies, of kind ``text``: the template of its requests and how it writes
        among them."""

    def drawing(self, seed: int) -> "Writer":
        """The same, whose replies are drawn anew and stored apart."""

    def likeliest(self) -> "Writer":
        """The same, whose replies are its likeliest words."""

    def forecast(self, requests: Iterable[Messages]) -> "Forecast":
        """What ``write`` would take."""

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """What so many tokens cost, so many of them ``written``; None where no price is known."""

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""

    def write(self, requests: Sequence[Messages]) -> Iterator[tuple[list[int], list[str], int]]:
        """Places in ``requests``, the replies to them as ``Written.kept`` has them, and the tokens read
        and written for them, as soon as each is there.

        Raises:
            UserError: it does not answer, or must not be asked for more.
        """


@dataclass(frozen=True, slots=True)
class Forecast:
    """Tokens that a teacher would read and write, how many of them it would write, and the seconds
    that takes here; None where that cannot be told."""

    tokens: int
    written: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What a teacher was asked in this start."""

    replies: int
    tokens: int


def request_key(messages: Messages) -> bytes:
    """The key of a request, as :func:`~ragdistill.signals.fingerprint.text_key` makes keys: of all that
    its messages say."""
    told = [dict(message) for message in messages]
    return text_key(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def unwritten(requests: Sequence[Messages], space: Space) -> list[Messages]:
    """Those that no reply is stored of, each once."""
    missing = space.missing([request_key(messages) for messages in requests])
    return [requests[place] for place in missing]


def collect(writer: Writer, requests: Sequence[Messages], space: Space) -> Collected:
    """Have every request answered that no reply is stored of, each once; a reply is stored as soon as it
    is there, so that a killed collection loses at most those that were under way.

    Raises:
        UserError: the teacher does not answer, or must not be asked for more; the store cannot be written.
    """
    asked = tokens = 0
    with track("teacher", len(requests)) as advance, space.writer() as taker:
        for start in range(0, len(requests), AT_ONCE):
            window = requests[start : start + AT_ONCE]
            keys = [request_key(messages) for messages in window]
            missing = space.missing(keys)
            advance(len(window) - len(missing), 0)
            asked += len(missing)
            for places, replies, count in writer.write([window[place] for place in missing]):
                taker.append([keys[missing[place]] for place in places], replies)
                tokens += count
                advance(len(places), count)
    return Collected(asked, tokens)


def stored(space: Space, requests: Sequence[Messages]) -> list[Written]:
    """The replies to ``requests``, in their order.

    Raises:
        MissingSignals: some have none.
    """
    return [Written.of(kept) for kept in space.get([request_key(item) for item in requests])]


def faults(replies: Iterable[Written]) -> dict[str, int]:
    """How many are no whole answers, by ``Written.fault``."""
    return dict(Counter(fault for reply in replies if (fault := reply.fault) is not None))
