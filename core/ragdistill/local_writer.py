"""The language model that writes on this machine; see ``Writer``."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from time import perf_counter
from typing import Any

from ragdistill.batching import token_budget_batches
from ragdistill.causal import (
    Precision,
    as_chat,
    ending_ids,
    load,
    load_tokenizer,
    reply_text,
    token_ids,
    write,
)
from ragdistill.drawing import WAY, Drawn
from ragdistill.local_model import LocalModel
from ragdistill.models.resolve import ResolvedModel
from ragdistill.signals.fingerprint import Fingerprint, Parameter
from ragdistill.writing import Forecast, Messages, Written

BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536, "mps": 8192}
"""Padded tokens that are read at once, by device: replies to all of them are written together, so that
the weights are read once a token for many."""
_TRIED = 8
"""Requests that a forecast has answered."""


class LocalWriter(LocalModel):
    """A causal language model whose weights are here."""

    def __init__(
        self,
        model: ResolvedModel,
        device: str,
        precision: Precision,
        *,
        template: str,
        new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            device: ``cpu``, ``cuda`` or ``mps``.
            template: what requests are made by; part of what replies are stored under.
            new_tokens: tokens after which a reply is cut.
            temperature: 0 takes the likeliest word each time.
            seed: of what is drawn.
        """
        super().__init__(model, device)
        self.precision = precision
        self._template, self._new_tokens = template, new_tokens
        self._temperature, self._seed = temperature, seed

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return load_tokenizer(self.model)

    @cached_property
    def network(self) -> Any:
        """It itself, loaded."""
        return load(self.model, self._device, self.precision)

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """Nobody bills it."""
        return 0.0

    def fingerprint(self) -> Fingerprint:
        """What identifies its replies."""
        told: dict[str, Parameter] = {"new_tokens": self._new_tokens, "precision": self.precision}
        if self._temperature:
            told |= {"temperature": self._temperature, "seed": self._seed, "draws": WAY}
        return Fingerprint(
            kind="text",
            weights=self.digest,
            tokenizer=self.model.tokenizer_digest,
            prompt=self._template,
            dtype="utf8",
            parameters=told,
        )

    def drawing(self, seed: int) -> "LocalWriter":
        """The same, with weights that are loaded, whose replies are drawn with another seed."""
        other = copy(self)
        other._seed = seed
        return other

    def likeliest(self) -> "LocalWriter":
        """The same, with weights that are loaded, whose replies are its likeliest words."""
        other = copy(self)
        other._temperature = 0.0
        return other

    def forecast(self, requests: Iterable[Messages]) -> Forecast:
        """What :meth:`write` would take, by what a few of the requests take now."""
        asked = [self._prompt(messages) for messages in requests]
        read = sum(map(len, asked))
        if not asked:
            return Forecast(0, 0, 0.0)
        started = perf_counter()
        _ = self.network
        loading = perf_counter() - started
        step = max(1, len(asked) // _TRIED)
        tried = asked[::step][:_TRIED]
        started = perf_counter()
        replies = self._replies(tried)
        each = (perf_counter() - started) / len(tried)
        written = round(sum(map(len, replies)) / len(tried) * len(asked))
        return Forecast(read + written, written, loading + each * len(asked))

    def write(self, requests: Sequence[Messages]) -> Iterator[tuple[list[int], list[str], int]]:
        """See ``Writer``: as many at once as fit, the longest first."""
        asked = [self._prompt(messages) for messages in requests]
        lengths = [len(prompt) + self._new_tokens for prompt in asked]
        for places in token_budget_batches(lengths, BATCH_TOKENS[self._device]):
            replies = self._replies([asked[place] for place in places])
            tokens = sum(len(asked[place]) for place in places) + sum(map(len, replies))
            yield list(places), [self._written(reply).kept() for reply in replies], tokens

    def _prompt(self, messages: Messages) -> list[int]:
        return token_ids(self.tokenizer, as_chat(self.tokenizer, messages))

    def _replies(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        network, tokenizer = self.network, self.tokenizer
        if not self._temperature:
            return write(network, tokenizer, prompts, self._new_tokens)
        # Of each request apart: what is drawn does not depend on where a run was cut off.
        seeds = [f"{self._seed} {list(prompt)}" for prompt in prompts]
        drawn = Drawn(self._temperature, seeds)
        return write(network, tokenizer, prompts, self._new_tokens, drawn)

    def _written(self, reply: Sequence[int]) -> Written:
        ends = ending_ids(self.network, self.tokenizer)
        whole = bool(reply) and reply[-1] in ends
        return Written(reply_text(self.tokenizer, reply, ends), "stop" if whole else "length")
