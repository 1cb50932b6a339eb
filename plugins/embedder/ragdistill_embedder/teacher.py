"""What a run needs of its teacher, wherever that runs; and the teacher that runs on this machine."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

from ragdistill.encoder import Answer, Encoder, Prompts, load_encoder
from ragdistill.models.resolve import ResolvedModel
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_embedder.describe import describe_model
from ragdistill_embedder.student import states_of

Batch = tuple[list[int], Answer, int]
"""Places of some texts among those that were asked about, what the teacher says of them, and how
many tokens they were."""


Asked = tuple[Encoder, Prompts]
"""A model that runs here, and what goes before its texts."""

AT_ONCE = 4096
"""Texts that are tokenised and sorted by length at a time: enough that batches pad little, and few
enough that memory does not grow with the corpus."""


class Teacher(Protocol):
    """Says where texts lie: one model, or several together."""

    @property
    def name(self) -> str:
        """What plans call it."""

    @property
    def digest(self) -> str:
        """What a run folder is held to; of its weights, where they are known."""

    @property
    def model(self) -> ResolvedModel | None:
        """Its files, if it is one model that runs here."""

    @property
    def encoder(self) -> Encoder | None:
        """It itself, loaded, if it is one model that runs here."""

    @property
    def asked(self) -> tuple[Asked, ...]:
        """All that has to run for a vector of it; none where not all of it runs here."""

    @property
    def reader(self) -> Encoder:
        """Whose tokenizer counts tokens before they are asked for: its own where that is known."""

    @property
    def prompts(self) -> Prompts:
        """What it wants before queries and passages."""

    @property
    def dimensions(self) -> int:
        """Length of its vectors; 0 while that is not known."""

    @property
    def max_length(self) -> int | None:
        """Tokens after which texts are cut; None where that is its own affair."""

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""


class Source(Teacher, Protocol):
    """A teacher that is asked by itself. What it said is stored under its fingerprint, never under
    its name."""

    @property
    def at_once(self) -> int:
        """The most texts that ``answers`` is to be given."""

    @property
    def note(self) -> str:
        """What a plan says besides; empty where there is nothing to say."""

    @property
    def known_as(self) -> str:
        """What the store knows it by: a change behind this name is refused."""

    def meet(self, needed: Callable[[], bool]) -> None:
        """Learn what must be known of it before it is asked, and, if it is ``needed``, whether it is
        still the one whose answers are stored. Spaces are opened anew after this.

        Raises:
            UserError: it cannot be reached, or is another one now.
        """

    def fingerprint(self, prompt: str, dtype: str, *, window: int | None = None) -> Fingerprint:
        """What identifies its vectors of texts behind ``prompt``; with a ``window`` its token states
        in runs of that many tokens."""

    def answers(
        self, texts: Sequence[str], prompt: str, *, window: int | None = None
    ) -> Iterator[Batch]:
        """What it says of ``texts``, batch by batch, as soon as each is answered.

        Raises:
            UserError: it does not answer, or must not be asked for more.
        """

    def seconds_per_token(self, texts: Sequence[str]) -> float | None:
        """Measured on a few ``texts``; None where measuring would cost."""

    def usd(self, tokens: int) -> float | None:
        """What so many tokens cost; None where no price is known."""


class LocalTeacher:
    """A model of this machine."""

    at_once = AT_ONCE

    def __init__(self, model: ResolvedModel, device: str, *, max_length: int | None = None) -> None:
        self.model = model
        self._device = device
        self._asked_length = max_length

    @property
    def name(self) -> str:
        """See ``Teacher``."""
        return self.model.name

    @property
    def note(self) -> str:
        """Nothing."""
        return ""

    @property
    def known_as(self) -> str:
        """A folder by its whole path, for two projects may each have a ``./model``."""
        local = self.model.source == "local"
        return str(self.model.path.resolve()) if local else self.model.reference

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return self.model.weights_digest

    @cached_property
    def encoder(self) -> Encoder:
        """See ``Teacher``."""
        return load_encoder(self.model.path, self._device, max_length=self._asked_length)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """See ``Teacher``."""
        return ((self.encoder, self.prompts),)

    @property
    def reader(self) -> Encoder:
        """It reads with its own tokenizer."""
        return self.encoder

    @cached_property
    def prompts(self) -> Prompts:
        """Its alias's prompts where that knows them (an empty one says that there is none), else
        what its folder says."""
        alias, named = self.model.alias, self.encoder.prompts
        query = alias.query_prompt if alias else None
        passage = alias.passage_prompt if alias else None
        return Prompts(
            query=named.query if query is None else query,
            passage=named.passage if passage is None else passage,
        )

    @property
    def dimensions(self) -> int:
        """See ``Teacher``."""
        return self.encoder.dimensions

    @property
    def max_length(self) -> int:
        """See ``Teacher``."""
        return self.encoder.max_length

    def meet(self, needed: Callable[[], bool]) -> None:
        """Its files have said everything."""

    def fingerprint(self, prompt: str, dtype: str, *, window: int | None = None) -> Fingerprint:
        """See ``Teacher``: digests of weights and tokenizer, of the pooling where it matters."""
        states = window is not None
        return Fingerprint(
            kind="windows" if states else "vector",
            weights=self.model.weights_digest,
            tokenizer=self.model.tokenizer_digest,
            prompt=prompt,
            pooling="" if states else self.model.pooling_digest,
            max_length=self.max_length,
            dtype=dtype,
            dimensions=states_of(self.encoder.model) if states else self.dimensions,
            parameters={"window": window} if states else {},
        )

    def answers(
        self, texts: Sequence[str], prompt: str, *, window: int | None = None
    ) -> Iterator[Batch]:
        """See ``Teacher``: each text is tokenised once, batches are of like length."""
        rows = self.encoder.tokenise(texts, prompt)
        for places, answer in self.encoder.batches(rows, prompt, window=window):
            yield places, answer, sum(len(rows[place]) for place in places)

    def seconds_per_token(self, texts: Sequence[str]) -> float | None:
        """See ``Teacher``."""
        rows = self.encoder.tokenise(texts)
        started = time.perf_counter()
        for _ in self.encoder.batches(rows):
            pass
        return (time.perf_counter() - started) / sum(map(len, rows))

    def usd(self, tokens: int) -> float:
        """Nothing."""
        return 0.0

    def describe(self) -> dict[str, Any]:
        """See ``Teacher``."""
        return describe_model(self.model, self.encoder)
