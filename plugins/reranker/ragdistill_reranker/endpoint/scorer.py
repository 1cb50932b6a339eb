"""The reranker that answers over HTTP."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ragdistill.endpoint import address
from ragdistill.endpoint.asking import Request
from ragdistill.endpoint.client import Options, Question
from ragdistill.endpoint.remote import Remote
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_reranker.config import KEY_NAME
from ragdistill_reranker.endpoint.asking import RERANK, TOO_MUCH, by_query, probe, put
from ragdistill_reranker.endpoint.identity import KNOWN_BY
from ragdistill_reranker.scales import Scores, scale_of
from ragdistill_reranker.scoring import By, Forecast, Pair


class EndpointScorer:
    """A reranker of which only its scores are known; see ``Scorer``."""

    by: By = "query"

    def __init__(
        self,
        name: str,
        url: str | None,
        *,
        key_env: str = KEY_NAME,
        price: str | float | None = None,
        budget: float | None = None,
        batch: int = 32,
        concurrency: int = 4,
        timeout: float = 60.0,
        store: str | None = None,
        accept_change: bool = False,
    ) -> None:
        """Nothing is asked yet.

        Args:
            name: as ``rerank:NAME``.
            url: the endpoint's address, with ``/rerank`` or without.
            key_env: the environment variable that holds the key.
            price: in USD per million tokens.
            budget: in USD, of all that ``store`` remembers.
            batch: documents in a request.
            concurrency: requests at a time.
            timeout: seconds after which a request is given up and sent again.
            store: address of the signal store that scores are kept in.
            accept_change: whether another model may have come behind the name.

        Raises:
            UserError: no usable name, address, key, budget or store.
        """
        self._remote = Remote(
            address.parse(RERANK, name, url),
            Options(
                key=address.key(key_env, default=KEY_NAME),
                key_name=key_env,
                timeout=timeout,
                connections=concurrency,
                too_much=TOO_MUCH,
            ),
            KNOWN_BY,
            price=price,
            budget=budget,
            store=store,
            accept_change=accept_change,
        )
        self._priced = price is not None
        self._batch = batch
        self._seen: list[float] = []

    @property
    def name(self) -> str:
        """What plans call it."""
        return self._remote.name

    @property
    def known_as(self) -> str:
        """What the store knows it by: a change behind this name is refused."""
        return self._remote.known_as

    @property
    def scale(self) -> str:
        """What its scores look like, by those that were seen so far, of its probes above all; ``unknown``
        before it was ever asked. See :func:`~ragdistill_reranker.scales.scale_of`."""
        known = self._remote.generation
        return scale_of([*self._seen, *(known.answers if known else ())])

    @property
    def digest(self) -> str:
        """Of where it is and what it is called there, for nobody sees its weights."""
        return self._remote.digest

    def meet(self, needed: Callable[[], bool]) -> None:
        """Find out, the first time and whenever something is still ``needed``, whether it is the one
        whose scores are stored. Spaces are opened anew after this.

        Raises:
            UserError: it cannot be reached, or is another one now.
        """
        self._remote.meet(needed, probe, self._put)

    def fingerprint(self) -> Fingerprint:
        """What identifies its scores: where it is and what it is called there, in place of digests."""
        at = self._remote.address
        return Fingerprint(
            kind="score",
            weights=self.digest,
            tokenizer="",
            dtype="float32",
            parameters={"reading": "relevance_score", "url": at.target, "model": at.model},
        )

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """See ``Scorer``: documents of one query go together, several requests at a time."""
        if not pairs:
            return
        before = self.digest
        self.meet(lambda: True)
        if self.digest != before:
            # The caller has opened its space already.
            raise self._remote.changed()
        wanted = (part for whole in by_query(pairs) for part in whole.parts(self._batch))
        for request, scores, billed in self._remote.answers(wanted, self._put):
            seen = [*self._seen, *scores.tolist()]
            self._seen = [min(seen), max(seen)]
            yield request.places, scores, billed

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> Forecast:
        """See ``Scorer``: tokens by the length of the texts; how long it takes is its own affair."""
        asked = (request for window in windows for request in by_query(window))
        return Forecast(sum(sum(request.tokens) for request in asked), None)

    def _put(self, request: Request) -> Question[Scores]:
        return put(request, self._remote.address, priced=self._priced)

    def usd(self, tokens: int) -> float | None:
        """What so many tokens cost; None where no price is known."""
        return self._remote.usd(tokens)

    @property
    def spent(self) -> float | None:
        """USD that all was that the store remembers; None where no price is known."""
        return self._remote.spent

    def describe(self) -> dict[str, Any]:
        """Its entry in the report, with what it was asked and billed so far, in all runs that the store
        remembers."""
        known = {"name": self.name, "digest": self.digest, "parameters": None, "licence": None}
        return known | {"outputs_may_train": "unknown", "endpoint": self._remote.describe()}
