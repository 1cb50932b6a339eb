"""The teacher that answers over HTTP."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from ragdistill.encoder import Answer, Encoder, Prompts, load_encoder
from ragdistill.endpoint import address
from ragdistill.endpoint.asking import Request, requests
from ragdistill.endpoint.client import Options, Question
from ragdistill.endpoint.remote import Remote
from ragdistill.errors import UserError
from ragdistill.models import aliases
from ragdistill.models.aliases import Alias
from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_embedder.config import KEY_NAME, EmbedderConfig
from ragdistill_embedder.endpoint.asking import EMBEDDINGS, TOO_MUCH, put
from ragdistill_embedder.endpoint.identity import KNOWN_BY
from ragdistill_embedder.endpoint.reply import Vectors
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
        self._remote = Remote(
            address.parse(EMBEDDINGS, config.teacher, config.teacher_url),
            Options(
                key=address.key(config.teacher_key_env, default=KEY_NAME),
                key_name=config.teacher_key_env,
                timeout=config.teacher_timeout,
                connections=config.teacher_concurrency,
                too_much=TOO_MUCH,
            ),
            KNOWN_BY,
            price=config.teacher_price,
            budget=config.teacher_budget,
            store=config.store,
            accept_change=config.accept_teacher_change,
        )
        self._base = base

    @property
    def name(self) -> str:
        """See ``Teacher``."""
        return self._remote.name

    @property
    def known_as(self) -> str:
        """See ``Teacher``."""
        return self._remote.known_as

    @property
    def note(self) -> str:
        """See ``Teacher``."""
        spent = self._remote.spent
        told = f", {spent:.6f} USD spent before" if spent else ""
        return f" (tokens are estimated with the student's tokenizer{told})"

    @property
    def digest(self) -> str:
        """Of where it is and what it is called there, for nobody sees its weights."""
        return self._remote.digest

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
        return aliases.served(self._remote.address.model, aliases.known())

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
        if self._remote.generation is not None:
            return int(self._remote.generation.answers.shape[1])
        return (self._alias.dimensions if self._alias else None) or 0

    @property
    def max_length(self) -> int | None:
        """See ``Teacher``."""
        return self._config.max_length

    def meet(self, needed: Callable[[], bool]) -> None:
        """See ``Teacher``: it is known by the probes of :mod:`~ragdistill_embedder.endpoint.identity`."""
        self._remote.meet(needed, lambda texts: self._requests(texts, len(texts))[0], _put_probes)

    def _requests(self, texts: Sequence[str], size: int) -> list[Request]:
        tokens = [len(row) for row in self.reader.tokenise(texts)]
        return list(requests(texts, tokens, size))

    def fingerprint(self, prompt: str, dtype: str, *, window: int | None = None) -> Fingerprint:
        """See ``Teacher``: where it is and what it is called there, in place of digests.

        Raises:
            ValueError: token states are asked for, which no endpoint tells.
        """
        if window is not None:
            raise ValueError("an endpoint tells no token states")
        at = self._remote.address
        told: dict[str, str | int] = {"url": at.url, "model": at.model}
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
        wanted = self._requests(sent, self._config.teacher_batch)
        for request, vectors, billed in self._remote.answers(wanted, self._put):
            yield request.places, Answer(vectors, []), billed

    def _put(self, request: Request) -> Question[Vectors]:
        return put(request, self._check)

    def _meet_late(self) -> None:
        """Nothing was needed when the run began, but now something is: its spaces are open already,
        so a change comes too late for this start."""
        before = self.digest, self.dimensions
        self.meet(lambda: True)
        if before != (self.digest, self.dimensions):
            raise self._remote.changed()

    def _check(self, vectors: Vectors) -> None:
        if vectors.shape[1] != self.dimensions:
            raise UserError(
                f"answers with vectors of {vectors.shape[1]} dimensions now, with"
                f" {self.dimensions} before: another model has come to answer",
                where=self._remote.address.url,
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
        return self._remote.usd(tokens)

    def describe(self) -> dict[str, Any]:
        """See ``Teacher``; ``endpoint`` has what it was asked and billed so far, in all runs that the
        store remembers."""
        alias = self._alias
        licence = licence_of(alias)
        return {
            "name": self._remote.address.model,
            "digest": self.digest,
            "revision": None,
            "parameters": alias.parameters if alias else None,
            "dimensions": self.dimensions,
            "size_mb": None,
            "licence": licence.name,
            "outputs_may_train": licence.outputs_may_train,
            "terms": licence.terms,
            "endpoint": self._remote.describe(),
        }


def _put_probes(request: Request) -> Question[Vectors]:
    return put(request, lambda vectors: None)
