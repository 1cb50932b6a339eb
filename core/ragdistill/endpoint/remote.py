"""A model behind an endpoint as a teacher needs it: asked within its budget, and known again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ragdistill.endpoint.address import Address
from ragdistill.endpoint.asking import Request, ask_all
from ragdistill.endpoint.client import Client, Options, Question
from ragdistill.endpoint.identity import Answers, Generation, Identity, Probes, Records
from ragdistill.endpoint.reply import Found
from ragdistill.endpoint.spend import OverBudget, Spend
from ragdistill.errors import UserError
from ragdistill.signals import default_address
from ragdistill.signals.places import place

Asking = Callable[[Request], Question[Found]]
"""How a request is put, and how its answer is understood."""


class Remote:
    """Everything about an endpoint but what its answers mean."""

    def __init__(
        self,
        address: Address,
        options: Options,
        probes: Probes,
        *,
        price: str | float | None = None,
        budget: float | None = None,
        store: str | None = None,
        accept_change: bool = False,
    ) -> None:
        """``price`` in USD per million tokens, or two as ``Price.of`` takes them; ``budget`` in USD,
        counted over all that the signal store at ``store`` remembers.

        Raises:
            UserError: no such price, a budget without one, or no usable store.
        """
        self.address = address
        self._options = options
        records = Records(place(store or default_address()), address, probes.tensor)
        self._spend = Spend(records.spend, price=price, budget=budget)
        self._identity = Identity(address, records, probes, accept_change=accept_change)

    @property
    def name(self) -> str:
        """What plans call it."""
        return f"{self.address.model} at {self.address.url}"

    @property
    def known_as(self) -> str:
        """What the store knows it by."""
        return f"{self.address.name} at {self.address.url}"

    @property
    def digest(self) -> str:
        """What stands for the digest of its weights."""
        return self._identity.digest

    @property
    def generation(self) -> Generation | None:
        """Which one of those that the store knows; None of one that was never asked."""
        return self._identity.generation

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """What so many tokens cost, so many of them ``written``; None where no price is known."""
        return self._spend.usd(tokens, written)

    @property
    def spent(self) -> float | None:
        """USD that all was, so far; None where no price is known."""
        totals = self._spend.totals()
        return self.usd(totals.tokens, totals.written)

    def meet(
        self,
        needed: Callable[[], bool],
        request: Callable[[tuple[str, ...]], Request],
        put: Asking[Answers],
    ) -> None:
        """Find out which generation it is: the first time, and whenever something is still ``needed``.
        Spaces are opened anew after this.

        Args:
            needed: whether more will be asked of it.
            request: makes a request of its probes.
            put: how that is asked.

        Raises:
            UserError: it cannot be reached, or is another one now.
        """
        self.meet_by(needed, lambda texts: self._probe(request(texts), put))

    def meet_by(
        self, needed: Callable[[], bool], ask: Callable[[tuple[str, ...]], Answers]
    ) -> None:
        """The same, where one request is not enough: ``ask`` has all probes answered."""
        if not self._identity.met and (self.generation is None or needed()):
            self._identity.meet(ask)

    def _probe(self, request: Request, put: Asking[Answers]) -> Answers:
        with self._client() as client:
            try:
                return client.ask(put(request))[0]
            except OverBudget:
                raise self._spend.refusal() from None

    def changed(self) -> UserError:
        """What to say where it was met after its spaces were opened, and is not as it was thought."""
        return UserError("has changed", where=self.address.url, mend="give the same command again")

    def answers(
        self, wanted: Iterable[Request], put: Asking[Found]
    ) -> Iterator[tuple[Request, Found, int]]:
        """Requests, what is answered, and the tokens billed: several at a time, in whichever order they
        are answered. It has to be met before.

        Raises:
            UserError: it does not answer, or must not be asked for more.
        """
        with self._client() as client:
            for request, (found, billed) in ask_all(
                wanted,
                lambda request: client.ask(put(request)),
                connections=self._options.connections,
                stop=client.stop,
                over_budget=self._spend.refusal,
            ):
                yield request, found, billed

    def _client(self) -> Client:
        return Client(self.address, self._options, self._spend, answered=self._identity.met)

    def describe(self) -> dict[str, Any]:
        """The report's ``teacher.endpoint``: what it was asked and billed so far, in all runs that the
        store remembers."""
        totals = self._spend.totals()
        return {
            "url": self.address.url,
            "requests": totals.requests,
            "texts": totals.texts,
            "tokens": totals.tokens,
            "usd": self.usd(totals.tokens, totals.written),
            **_latency(totals.seconds),
        }


def _latency(seconds: Sequence[float]) -> dict[str, float | None]:
    latency: list[float | None] = [None, None, None]
    if seconds:
        latency = [float(ms) for ms in np.percentile(seconds, (50, 95, 99)) * 1000]
    names = ("request_p50_ms", "request_p95_ms", "request_p99_ms")
    return dict(zip(names, latency, strict=True))
