"""What the teacher says of each token of contexts and answers, and its place in the signal store.

A text is read once: contexts with all questions about them in one row, as the student reads them. What is
said is stored by what was read, token by token: a beginning by itself, an answer by all that is before it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ragdistill.packing import Row, Tokens
from ragdistill.progress import track
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.fingerprint import KEY_BYTES, Fingerprint
from ragdistill.signals.logits import Kept, LogitCodec
from ragdistill.signals.store import Space
from ragdistill.training.fitting import COLUMN
from ragdistill.training.reading import INPUTS, Reader
from ragdistill_generator.lesson import Batches, Example, Lesson

ROWS_AT_ONCE = 256
"""Rows that are looked up in the store together."""
_CHUNK = 128
"""Tokens whose logits are held at once."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Tokens of a row of which it is stored what the teacher said."""

    key: bytes
    places: Sequence[int]
    """The positions that foretell them."""
    labels: Tokens


@dataclass(frozen=True, slots=True)
class Told:
    """What the teacher was asked in this start."""

    records: int
    tokens: int


class Teller:
    """A teacher whose distributions are had on this machine."""

    def __init__(
        self,
        network: Any,
        kept: Kept,
        *,
        weights: str,
        tokenizer: str,
        precision: str,
        words: int | None = None,
    ) -> None:
        """
        Args:
            weights, tokenizer: digests of them.
            words: ids that exist, from 0; None for all. The rows beyond, with which a head was padded, are no
                part of what is said.
        """
        self._network, self._kept = network, kept
        rows = len(network.get_output_embeddings().weight)
        self._words = rows if words is None else min(words, rows)
        self._weights, self._tokenizer = weights, tokenizer
        self._precision = precision

    @property
    def network(self) -> Any:
        """Itself."""
        return self._network

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._network)

    @property
    def codec(self) -> LogitCodec:
        """How it is stored."""
        return LogitCodec(self._words, self._kept)

    def fingerprint(self) -> Fingerprint:
        """What identifies it."""
        codec = self.codec
        return Fingerprint(
            kind="logits",
            weights=self._weights,
            tokenizer=self._tokenizer,
            dtype="packed",
            dimensions=codec.vocabulary,
            parameters={**codec.parameters, "precision": self._precision},
        )

    def missing(self, lesson: Lesson, contexts: bool, space: Space) -> list[Row]:
        """The rows of which something is not stored yet, with ``contexts`` of beginnings, too."""
        found = []
        rows = lesson.rows(range(len(lesson.examples)))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            wanted = [wanted_of(row, lesson.examples, contexts) for row in part]
            keys = [item.key for each in wanted for item in each]
            lacking = {keys[place] for place in space.missing(keys)}
            found += [
                row
                for row, each in zip(part, wanted, strict=True)
                if any(item.key in lacking for item in each)
            ]
        return found

    def collect(self, lesson: Lesson, contexts: bool, space: Space) -> Told:
        """Have all of a lesson told that is not stored yet; a row is stored as soon as it is read.

        Raises:
            UserError: the teacher says NaN, or the store cannot be written.
        """
        lesson = lesson.read_by(self._network)
        rows = self.missing(lesson, contexts, space)
        records = tokens = 0
        with track("teacher", len(rows)) as advance, space.writer() as writer:
            for row in rows:
                wanted = wanted_of(row, lesson.examples, contexts)
                lacking = {*space.missing([item.key for item in wanted])}
                asked = [item for place, item in enumerate(wanted) if place in lacking]
                writer.append([item.key for item in asked], list(self._said(lesson, row, asked)))
                records, tokens = records + len(asked), tokens + len(row.tokens)
                advance(1, len(row.tokens))
        return Told(records, tokens)

    def said(self, lesson: Lesson, row: Row, contexts: bool) -> list[TokenDistributions]:
        """What it says of all of a row that would be stored."""
        return list(self._said(lesson, row, wanted_of(row, lesson.examples, contexts)))

    @torch.inference_mode()
    def _said(
        self, lesson: Lesson, row: Row, wanted: Sequence[_Wanted]
    ) -> Iterator[TokenDistributions]:
        inputs = Batches(lesson, [row])([{COLUMN: 0}])
        told = {name: inputs[name] for name in INPUTS & inputs.keys()}
        reader = self._reader
        every = torch.tensor([place for item in wanted for place in item.places])
        states = reader.states(told, every) if reader.factor is not None else None
        start = 0
        for item in wanted:
            end = start + len(item.places)
            rng = np.random.default_rng(np.frombuffer(item.key, np.uint32))
            parts = []
            for low in range(start, end, _CHUNK):
                high = min(low + _CHUNK, end)
                if states is not None:
                    head = reader.head
                    logits = torch.nn.functional.linear(states[low:high], head.weight, head.bias)
                else:
                    logits = reader.logits(told, every[low:high])
                logits = logits[:, : self._words]
                labels = np.asarray(item.labels[low - start : high - start])
                parts.append(self._kept.take(logits.float().cpu().numpy(), labels, rng))
            yield TokenDistributions.joined(parts)
            start = end


def wanted_of(row: Row, examples: Sequence[Example], contexts: bool) -> list[_Wanted]:
    """What is stored of ``row``: of each answer, and with ``contexts`` of the beginning."""
    found = []
    if contexts:
        for start, end in row.blocks:
            if end - start > 1:
                told = row.tokens[start:end]
                found.append(_Wanted(_key(told), range(start, end - 1), told[1:]))
    for span in row.spans:
        example = examples[span.place]
        answer = example.answer
        key = _key(example.beginning, example.question, answer)
        found.append(_Wanted(key, list(span.before)[-len(answer) :], answer))
    return found


def stored(lesson: Lesson, contexts: bool, space: Space) -> Lesson:
    """The lesson with what the teacher said.

    Raises:
        MissingSignals: something is not stored.
    """
    told = space.get([_key(e.beginning, e.question, e.answer) for e in lesson.examples])
    read: dict[bytes, TokenDistributions] = {}
    if contexts:
        keys = {_key(e.beginning): None for e in lesson.examples if len(e.beginning) > 1}
        read = dict(zip(keys, space.get(list(keys)), strict=True))
    examples = [
        replace(example, targets=said, read=read.get(_key(example.beginning)))
        for example, said in zip(lesson.examples, told, strict=True)
    ]
    return replace(lesson, examples=examples)


def _key(*parts: Tokens) -> bytes:
    """The key of token ids, and of where each part of them ends."""
    told = ";".join(",".join(map(str, part)) for part in parts)
    return hashlib.sha256(told.encode()).digest()[:KEY_BYTES]
