"""The teacher that answers over HTTP."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ragdistill.encoder import Answer, Encoder, Prompts, load_encoder
from ragdistill.errors import UserError
from ragdistill.models import aliases
from ragdistill.models.aliases import Alias
from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.places import place
from ragdistill_embedder.config import KEY_NAME, EmbedderConfig
from ragdistill_embedder.endpoint import address
from ragdistill_embedder.endpoint.asking import Request, ask_all, requests
from ragdistill_embedder.endpoint.client import Client, Options
from ragdistill_embedder.endpoint.identity import PROBES, Generation, Records, digest
from ragdistill_embedder.endpoint.reply import Vectors
from ragdistill_embedder.endpoint.spend import OverBudget, Spend
from ragdistill_embedder.teacher import AT_ONCE, Batch

_WHOLE = 10**9
"""Tokens after which a text is cut that is not to be cut."""


class EndpointTeacher:
    """A model of which only its answers are known; see ``Source``."""

    model = None
    encoder = None
    asked = ()
    at_once = AT_ONCE

    def __init__(self, config: EmbedderConfig, base: Callable[[], ResolvedModel]) -> None:
        """``base``: finds the student's model, whose tokenizer has to do for counting.

        Raises:
            UserError: no usable address, key, budget or store.
        """
        self._config = config
        self._address = address.parse(config.teacher, config.teacher_url)
        self._options = Options(
            key=address.key(config.teacher_key_env, default=KEY_NAME),
            key_name=config.teacher_key_env,
            timeout=config.teacher_timeout,
            connections=config.teacher_concurrency,
        )
        self._records = Records(place(config.store or default_address()), self._address)
        self._spend = Spend(
            self._records.spend, price=config.teacher_price, budget=config.teacher_budget
        )
        self._base = base
        self._generation = next(iter(self._records.generations()), None)
        self._met = False

    @property
    def name(self) -> str:
        """See ``Teacher``."""
        return f"{self._address.model} at {self._address.url}"

    @property
    def known_as(self) -> str:
        """See ``Teacher``."""
        return f"{self._config.teacher} at {self._address.url}"

    @property
    def note(self) -> str:
        """See ``Teacher``."""
        spent = self._spend.usd(self._spend.totals().tokens)
        told = f", {spent:.6f} USD spent before" if spent else ""
        return f" (tokens are estimated with the student's tokenizer{told})"

    @property
    def digest(self) -> str:
        """Of where it is and what it is called there, for nobody sees its weights."""
        return digest(self._address, self._generation.number if self._generation else 1)

    @cached_property
    def reader(self) -> Encoder:
        """The student's model, reading texts to the end or to ``--max-length``."""
        reader = load_encoder(self._base().path, self._config.device)
        if self._config.max_length and not getattr(reader.tokenizer, "is_fast", False):
            raise UserError(
                "the student's tokenizer cannot say where a text is to be cut",
                where="--max-length",
                mend="leave it out, or name a student with a fast tokenizer",
            )
        reader.max_length = self._config.max_length or _WHOLE
        return reader

    @cached_property
    def _alias(self) -> Alias | None:
        known, name = aliases.known(), self._address.model
        by_api = (alias for alias in known.values() if alias.api == name)
        return next(by_api, None) or aliases.find(name, known)

    @property
    def prompts(self) -> Prompts:
        """Those of its alias, where there is one: an endpoint adds none by itself."""
        alias = self._alias
        if alias is None:
            return Prompts()
        return Prompts(alias.query_prompt or "", alias.passage_prompt or "")

    @property
    def dimensions(self) -> int:
        """As it has shown them; before it was ever asked as its alias says, 0 where nobody knows."""
        if self._generation is not None:
            return self._generation.dimensions
        return (self._alias.dimensions if self._alias else None) or 0

    @property
    def max_length(self) -> int | None:
        """See ``Teacher``."""
        return self._config.max_length

    def meet(self, needed: Callable[[], bool]) -> None:
        """See ``Teacher``: the probes of :mod:`~ragdistill_embedder.endpoint.identity` are asked the
        first time, and whenever something is still ``needed``."""
        if self._met or (self._generation is not None and not needed()):
            return
        known = self._records.generations()
        texts = known[0].texts if known else PROBES
        vectors = self._probe(texts)
        found = next((item for item in known if item.gave(texts, vectors)), None)
        if found is None and known and not self._config.accept_teacher_change:
            raise self._changed(known[0], vectors)
        if found is None:
            found = self._records.begin(known[0].number + 1 if known else 1, texts, vectors)
        self._generation, self._met = found, True

    def _probe(self, texts: Sequence[str]) -> Vectors:
        tokens = [len(row) for row in self.reader.tokenise(texts)]
        (request,) = requests(texts, tokens, len(texts))
        with self._client() as client:
            try:
                return client.ask(request.texts, request.ask, lambda _: None)[0]
            except OverBudget:
                raise self._spend.refusal() from None

    def _changed(self, known: Generation, vectors: Vectors) -> UserError:
        cosine = known.cosine(vectors)
        how = (
            f"its vectors have {vectors.shape[1]} dimensions, not {known.dimensions}"
            if cosine is None
            else f"it places a text elsewhere (cosine {cosine:.4f} with where that was)"
        )
        return UserError(
            f"{self._address.model!r} is not the model that the store knows from there: {how}",
            where=self._address.url,
            mend="bring the former back, or accept that it has changed with --accept-teacher-change "
            "and another --out (the old signals stay, and are never mixed in)",
        )

    def _client(self) -> Client:
        return Client(self._address, self._options, self._spend, answered=self._met)

    def fingerprint(self, prompt: str, dtype: str, *, window: int | None = None) -> Fingerprint:
        """See ``Teacher``: where it is and what it is called there, in place of digests.

        Raises:
            ValueError: token states are asked for, which no endpoint tells.
        """
        if window is not None:
            raise ValueError("an endpoint tells no token states")
        told: dict[str, str | int] = {"url": self._address.url, "model": self._address.model}
        if self.max_length is not None:
            told["cut_by"] = self._base().tokenizer_digest
        return Fingerprint(
            kind="vector",
            weights=self.digest,
            tokenizer="",
            prompt=prompt,
            max_length=self.max_length,
            dtype=dtype,
            # Of what was never asked nothing is stored, whatever its dimensions will be.
            dimensions=self.dimensions or 1,
            parameters=told,
        )

    def answers(
        self, texts: Sequence[str], prompt: str, *, window: int | None = None
    ) -> Iterator[Batch]:
        """See ``Teacher``: several requests at a time, in whichever order they are answered."""
        if not texts:
            return
        self._meet_late()
        sent = self._cut([prompt + text for text in texts])
        tokens = [len(row) for row in self.reader.tokenise(sent)]
        with self._client() as client:

            def ask(request: Request) -> tuple[Vectors, int]:
                return client.ask(request.texts, request.ask, self._check)

            for request, (vectors, billed) in ask_all(
                requests(sent, tokens, self._config.teacher_batch),
                ask,
                connections=self._config.teacher_concurrency,
                stop=client.stop,
                over_budget=self._spend.refusal,
            ):
                yield request.places, Answer(vectors, []), billed

    def _meet_late(self) -> None:
        """Nothing was needed when the run began, but now something is: its spaces are open already,
        so a change comes too late for this start."""
        before = self.digest, self.dimensions
        self.meet(lambda: True)
        if before != (self.digest, self.dimensions):
            raise UserError(
                "has changed", where=self._address.url, mend="give the same command again"
            )

    def _check(self, vectors: Vectors) -> None:
        if vectors.shape[1] != self.dimensions:
            raise UserError(
                f"answers with vectors of {vectors.shape[1]} dimensions now, with"
                f" {self.dimensions} before: another model has come to answer",
                where=self._address.url,
                mend="bring the former back, and the same command goes on",
            )

    def _cut(self, texts: list[str]) -> list[str]:
        """``texts`` after ``--max-length`` tokens cut, counted by the student's tokenizer."""
        most = self.max_length
        if most is None:
            return texts
        told = self.reader.tokenizer(
            texts, truncation=True, max_length=most, return_offsets_mapping=True
        )
        ends = [max(end for _, end in spans) for spans in told["offset_mapping"]]
        full = [len(row) >= most for row in told["input_ids"]]
        return [
            text[:end] if cut else text for text, end, cut in zip(texts, ends, full, strict=True)
        ]

    def seconds_per_token(self, texts: Sequence[str]) -> None:
        """Not known before it is paid for."""

    def usd(self, tokens: int) -> float | None:
        """See ``Teacher``."""
        return self._spend.usd(tokens)

    def describe(self) -> dict[str, Any]:
        """See ``Teacher``; ``endpoint`` has what it was asked and billed so far, in all runs that the
        store remembers."""
        alias = self._alias
        licence = licence_of(alias)
        return {
            "name": self._address.model,
            "digest": self.digest,
            "revision": None,
            "parameters": alias.parameters if alias else None,
            "dimensions": self.dimensions,
            "size_mb": None,
            "licence": licence.name,
            "outputs_may_train": licence.outputs_may_train,
            "terms": licence.terms,
            "endpoint": self._service(),
        }

    def _service(self) -> dict[str, Any]:
        totals = self._spend.totals()
        latency: list[float | None] = [None, None, None]
        if totals.seconds:
            latency = [float(ms) for ms in np.percentile(totals.seconds, (50, 95, 99)) * 1000]
        names = ("request_p50_ms", "request_p95_ms", "request_p99_ms")
        return {
            "url": self._address.url,
            "requests": totals.requests,
            "texts": totals.texts,
            "tokens": totals.tokens,
            "usd": self.usd(totals.tokens),
            **dict(zip(names, latency, strict=True)),
        }
