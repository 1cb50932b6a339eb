"""Requests to an endpoint: tried again where that helps, given up with one line where it does not."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from types import TracebackType
from typing import Any, Generic, Self

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    wait_random_exponential,
)

from ragdistill.endpoint.address import Address
from ragdistill.endpoint.reply import Found, Reply, Unusable
from ragdistill.endpoint.spend import Ask, Spend
from ragdistill.errors import UserError

TRIES = 10
"""How often a request is sent before it is given up."""
FIRST_TRIES = 3
"""And where nothing at that address has ever answered."""
PAUSE_SECONDS = (0.5, 30.0)
"""Upper ends of the random pause after the first try and after the last; it doubles between them."""
LONGEST_WAIT_SECONDS = 300.0
"""A server that asks for a longer one is left for later."""
_PASSING = frozenset([408, 409, 425, 429])
_DECLINED = frozenset(["content_filter", "content_policy_violation", "invalid_prompt"])
"""What Azure and OpenAI call it that their rules forbid to answer a question."""
LEAST_BYTES = 1 << 20
"""Allowed of any answer."""
_SHOWN = 200
_TOLD_SECONDS = 20.0
_LOG = logging.getLogger(__name__)


_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Passing(Exception):
    """A failure that may be gone the next time."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""


class Declined(UserError):
    """A question that is not answered, however often it is put; others may be."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an endpoint is asked."""

    key: str | None
    key_name: str
    """The environment variable that holds the key."""
    timeout: float
    """Seconds after which a request counts as stalled."""
    connections: int
    too_much: str
    """How to mend what it refuses as too long or too many."""


@dataclass(frozen=True, slots=True)
class Question(Generic[Found]):
    """What one request says, and how its answer is understood."""

    wish: Mapping[str, Any]
    """What is posted, as JSON; the model's name is added."""
    ask: Ask
    read: Callable[[bytes], Reply[Found]]
    """``Unusable`` where another try may help."""
    check: Callable[[Found], None]
    """``UserError`` where none helps."""
    most_bytes: int = LEAST_BYTES
    """Allowed of the answer."""
    declined: Found | None = None
    """What stands for the answer where the endpoint declines this question by its rules; without one
    nothing more is asked then."""


class Client:
    """Asks one endpoint; for use in a ``with`` block, by several threads at once."""

    def __init__(
        self, address: Address, options: Options, spend: Spend, *, answered: bool = False
    ) -> None:
        """``answered``: whether anything at that address has answered before."""
        self._address = address
        self._options = options
        self._spend = spend
        self._stop = Event()
        self._answered = answered
        secret = {} if options.key is None else {"Authorization": f"Bearer {options.key}"}
        self._http = httpx2.Client(
            headers=secret,
            timeout=options.timeout,
            limits=httpx2.Limits(max_connections=options.connections),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._http.close()

    def stop(self) -> None:
        """Have no request tried again; those under way may end."""
        self._stop.set()

    def ask(self, question: Question[Found]) -> tuple[Found, int]:
        """What is answered, and the tokens billed (estimated where nobody says).

        Raises:
            OverBudget: it might cost more than is left.
            UserError: what no other try mends, as its ``check`` may find; or too many tries.
        """
        low, high = PAUSE_SECONDS
        pause = wait_random_exponential(multiplier=low, max=high)
        tries = Retrying(
            retry=retry_if_exception_type(Passing),
            wait=lambda state: pause(state) + _asked_to_wait(state),
            stop=self._enough,
            sleep=sleep_using_event(self._stop),
            before_sleep=_tell,
            reraise=True,
        )
        try:
            return tries(self._try, question)
        except Passing as error:
            often = tries.statistics.get("attempt_number", 1)
            raise UserError(
                f"gives no usable answer ({often} tries): {error}",
                where=self._address.url,
                mend="see that it runs; what it answered is kept, and the same command goes on",
            ) from error

    def _enough(self, state: RetryCallState) -> bool:
        most = TRIES if self._answered else FIRST_TRIES
        return self._stop.is_set() or state.attempt_number >= most

    def _try(self, question: Question[Found]) -> tuple[Found, int]:
        ticket = self._spend.reserve(question.ask)
        billed, seconds, started = (0, 0), None, time.perf_counter()
        try:
            body = self._send(question)
            billed = _billed(question.ask, None, None)
            reply = question.read(body)
            billed = _billed(question.ask, reply.tokens, reply.written)
            question.check(reply.found)
            seconds = time.perf_counter() - started
            return reply.found, billed[0]
        except Declined:
            if question.declined is None:
                raise
            return question.declined, 0
        except Unusable as error:
            # Whoever answers badly bills all the same.
            billed = _billed(question.ask, error.tokens, error.written)
            raise Passing(f"the last answer is not usable: {error}") from error
        finally:
            self._spend.settle(ticket, billed[0], seconds, written=billed[1])

    def _send(self, question: Question[Found]) -> bytes:
        """The body of the answer.

        Raises:
            Unusable: it broke off, or does not end.
            Passing: no answer, or one that says to try again.
            UserError: one that says not to.
        """
        wish = {"model": self._address.model, **question.wish}
        answered = False
        try:
            with self._http.stream("POST", self._address.target, json=wish) as response:
                self._answered = True
                if response.status_code != httpx2.codes.OK:
                    raise self._refused(response)
                answered = True
                return self._read(response, question.most_bytes)
        except httpx2.RequestError as error:
            told = f"{type(error).__name__} {error}".strip()
            if answered:
                raise Unusable(f"it broke off ({told})") from error
            if not isinstance(error, _NOT_SENT):
                # It was read, perhaps, and what is read is billed, whether or not it is answered.
                raise Unusable(f"there was none ({told})") from error
            raise Passing(f"no answer ({told})") from error

    def _read(self, response: httpx2.Response, most: int) -> bytes:
        """All of an answer; one that trickles in is a stall, too."""
        until = time.monotonic() + self._options.timeout
        found = bytearray()
        for piece in response.iter_bytes():
            found += piece
            if len(found) > most:
                raise Unusable(f"it is longer than {most:,} bytes")
            if time.monotonic() > until:
                raise Unusable(f"it was not whole after {self._options.timeout:g} s")
        return bytes(found)

    def _refused(self, response: httpx2.Response) -> Exception:
        """What an answer of another status comes to."""
        status, url, model = response.status_code, self._address.url, self._address.model
        said, code = self._said(response)
        if status in _PASSING or status >= 500 or status < 300:
            wait = retry_after(response.headers.get("retry-after"))
            if code == "insufficient_quota":
                return UserError(f"no quota is left there ({status})", where=url, mend="raise it")
            if wait > LONGEST_WAIT_SECONDS:
                return UserError(
                    f"asks to wait {wait:,.0f} s ({status})",
                    where=url,
                    mend="give the same command again then; what was answered is kept",
                )
            return Passing(f"the last answer was status {status}{said}", wait)
        if status in (401, 403):
            # What the server says of it may quote the key.
            named, key = self._options.key_name, self._options.key
            what = "wants a key" if key is None else f"does not take the key in {named}"
            return UserError(f"{what} (status {status})", where=url, mend=f"set {named}")
        if status == 404:
            mend = "see --teacher-url and --teacher"
            return UserError(f"knows no model {model!r} (status 404{said})", where=url, mend=mend)
        if status < 400:
            mend = "give the address that it leads to"
            return UserError(f"leads elsewhere (status {status})", where="--teacher-url", mend=mend)
        refused = Declined if code in _DECLINED else UserError
        return refused(
            f"refuses the request (status {status}{said})",
            where=url,
            mend=self._options.too_much,
        )

    def _said(self, response: httpx2.Response) -> tuple[str, str]:
        """The server's own words, short and without the key, and its name for the error."""
        try:
            content: Any = json.loads(self._read(response, LEAST_BYTES))
            inner = content.get("error")
            error = inner if isinstance(inner, dict) else content
            # In this order: OpenAI and Cohere, FastAPI, TEI and Ollama.
            told = (error.get("message"), error.get("detail"), inner)
            words = next((item for item in told if isinstance(item, str)), "")
            code = str(error.get("code", ""))
        except (Unusable, httpx2.RequestError, ValueError, AttributeError, RecursionError):
            return "", ""
        if self._options.key:
            words = words.replace(self._options.key, "...")
        shown = "".join(sign if sign.isprintable() else " " for sign in words).strip()[:_SHOWN]
        return f": {shown}" if shown else "", code


def _billed(ask: Ask, tokens: int | None, written: int | None) -> tuple[int, int]:
    """Tokens, and how many of them were written: as the endpoint says; as estimated, and as much
    written as may be, where it does not say."""
    total = tokens or ask.estimate
    return total, min(total, ask.writes if written is None else written)


def _tell(state: RetryCallState) -> None:
    """Of a pause that somebody who waits would wonder about."""
    if state.outcome is not None and state.upcoming_sleep >= _TOLD_SECONDS:
        error = state.outcome.exception()
        _LOG.warning("%s; next try in %.0f s", error, state.upcoming_sleep)


def _asked_to_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, Passing) else 0.0


def retry_after(value: str | None) -> float:
    """Seconds that a ``Retry-After`` header asks to wait: a number, or a date (RFC 9110, 10.2.3);
    0 where it says neither."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
