"""The language model that answers over HTTP."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from ragdistill.endpoint import address
from ragdistill.endpoint.asking import Request
from ragdistill.endpoint.chat import CHAT, TOO_MUCH, Said, Settings, conversations, put
from ragdistill.endpoint.client import Options, Question
from ragdistill.endpoint.identity import Answers
from ragdistill.endpoint.remote import Remote
from ragdistill.endpoint.wording import KNOWN_BY, PROBE_TOKENS, decode, encode
from ragdistill.errors import UserError
from ragdistill.models import aliases
from ragdistill.models.licences import licence_of
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.writing import Forecast, Messages

KEY_NAME = "OPENAI_API_KEY"
"""The environment variable that an endpoint's key is read from."""


class EndpointWriter:
    """A language model of which only its replies are known; see ``Writer``."""

    def __init__(
        self,
        name: str,
        url: str | None,
        settings: Settings,
        *,
        key_env: str = KEY_NAME,
        price: str | float | None = None,
        budget: float | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        store: str | None = None,
        accept_change: bool = False,
    ) -> None:
        """Nothing is asked yet.

        Args:
            name: as ``openai:NAME``.
            url: the endpoint's address, with ``/chat/completions`` or without.
            settings: how it is to write.
            key_env: the environment variable that holds the key.
            price: in USD per million tokens; two, as ``0.15,0.60``, of what it reads and what it writes.
            budget: in USD, of all that ``store`` remembers.
            concurrency: requests at a time.
            timeout: seconds after which a request is given up and sent again.
            store: address of the signal store that replies are kept in.
            accept_change: whether another model may have come behind the name.

        Raises:
            UserError: no usable name, address, key, price, budget or store.
        """
        self._settings = settings
        self._remote = Remote(
            address.parse(CHAT, name, url),
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

    @property
    def name(self) -> str:
        """What plans call it."""
        return self._remote.name

    @property
    def known_as(self) -> str:
        """What the store knows it by: a change behind this name is refused."""
        return self._remote.known_as

    @property
    def digest(self) -> str:
        """Of where it is and what it is called there, for nobody sees its weights."""
        return self._remote.digest

    def meet(self, needed: Callable[[], bool]) -> None:
        """Find out, the first time and whenever something is still ``needed``, whether it is the one
        whose replies are stored. Spaces are opened anew after this.

        Raises:
            UserError: it cannot be reached, or is another one now.
        """
        self._remote.meet_by(needed, self._probe)

    def _probe(self, texts: tuple[str, ...]) -> Answers:
        """What it says of its probes. Where nobody may tell it to take the likeliest token, nothing that
        it says can be held to it, and it is known by what it is called."""
        drawn = self._settings.temperature is None
        settings = replace(
            self._settings,
            temperature=None if drawn else 0.0,
            max_tokens=PROBE_TOKENS,
            seed=None if drawn else 0,
            stop=(),
        )
        asked = [[{"role": "user", "content": text}] for text in (texts[:1] if drawn else texts)]
        model, words = "", [""] * len(texts)
        for place, said, _ in self._ask(asked, settings, lambda said: None):
            model = said.model or model
            words[place] = "" if drawn else said.written.text
        return encode(model, words)

    def fingerprint(self) -> Fingerprint:
        """What identifies its replies: where it is and what it is called there, in place of digests."""
        at = self._remote.address
        return Fingerprint(
            kind="text",
            weights=self.digest,
            tokenizer="",
            prompt=self._settings.template,
            dtype="utf8",
            parameters={"url": at.target, "model": at.model, **self._settings.parameters()},
        )

    def write(self, requests: Sequence[Messages]) -> Iterator[tuple[list[int], list[str], int]]:
        """See ``Writer``: several requests at a time, in whichever order they are answered."""
        if not requests:
            return
        before = self.digest
        self.meet(lambda: True)
        if self.digest != before:
            # The caller has opened its space already.
            raise self._remote.changed()
        for place, said, billed in self._ask(requests, self._settings, self._check):
            yield [place], [said.written.kept()], billed

    def _ask(
        self, requests: Sequence[Messages], settings: Settings, check: Callable[[Said], None]
    ) -> Iterator[tuple[int, Said, int]]:
        def ask(request: Request) -> Question[Said]:
            return put(request, settings, self._remote.address, check)

        for request, said, billed in self._remote.answers(conversations(requests, settings), ask):
            yield request.places[0], said, billed

    def _check(self, said: Said) -> None:
        known = self._remote.generation
        name = decode(known.answers)[0] if known else said.model
        if said.model != name:
            raise UserError(
                f"calls itself {said.model!r} now, and was {name!r}: another model has come to answer",
                where=self._remote.address.url,
                mend="bring the former back, and the same command goes on",
            )

    def drawing(self, seed: int) -> "EndpointWriter":
        """The same, behind the same connection and budget, whose replies are drawn with another seed."""
        other = copy(self)
        other._settings = replace(self._settings, seed=seed)
        return other

    def likeliest(self) -> "EndpointWriter":
        """The same, behind the same connection and budget, whose replies are its likeliest words."""
        other = copy(self)
        other._settings = replace(self._settings, temperature=0.0)
        return other

    def forecast(self, requests: Iterable[Messages]) -> Forecast:
        """What ``write`` would take, at the most of what is written; how long is its own affair."""
        read = written = 0
        for request in conversations(list(requests), self._settings):
            read += sum(request.tokens)
            written += request.writes
        return Forecast(read + written, written)

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """What so many tokens cost, so many of them ``written``; None where no price is known."""
        return self._remote.usd(tokens, written)

    @property
    def spent(self) -> float | None:
        """USD that all was that the store remembers; None where no price is known."""
        return self._remote.spent

    def describe(self) -> dict[str, Any]:
        """Its entry in the report, with what it was asked and billed so far, in all runs that the store
        remembers."""
        alias = aliases.served(self._remote.address.model, aliases.known())
        licence = licence_of(alias)
        return {
            "name": self._remote.address.model,
            "digest": self.digest,
            "parameters": alias.parameters if alias else None,
            "licence": licence.name,
            "outputs_may_train": licence.outputs_may_train,
            "terms": licence.terms,
            "endpoint": self._remote.describe(),
        }
