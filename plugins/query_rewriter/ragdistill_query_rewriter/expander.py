"""What writes expansions as it is served, whatever runs it: PyTorch or ctranslate2."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Self

from ragdistill import causal
from ragdistill.batching import token_budget_batches
from ragdistill.data.collection import Query
from ragdistill.export.causal.parity import Writer
from ragdistill.local_writer import BATCH_TOKENS
from ragdistill_query_rewriter.expansions import separated
from ragdistill_query_rewriter.settings import SequenceSettings
from ragdistill_query_rewriter.ways import Way

WINDOW = 128
"""Tokens of a query, where that is not said."""
_ASKED = "expand query: "
"""Before a query that an encoder-decoder reads: T5 is told what to do in words."""


def _encoded(tokenizer: Any, query: str, window: int) -> list[int]:
    """As an encoder reads it."""
    told = tokenizer(f"{_ASKED}{query}", truncation=True, max_length=window)
    ids: list[int] = told["input_ids"]
    return ids


def _requested(tokenizer: Any, query: str, window: int) -> list[int]:
    """As a language model is asked; of a query that is too long the end is left out."""
    asked = causal.text_ids(tokenizer, query)[:window]
    cut = query if len(asked) < window else tokenizer.decode(asked)
    return causal.token_ids(tokenizer, causal.as_request(tokenizer, cut))


_READS: Mapping[str, Callable[[Any, str, int], list[int]]] = MappingProxyType(
    {"seq2seq": _encoded, "causal": _requested}
)


class Expander(ABC):
    """Expands queries; a query that is best left alone is followed by nothing."""

    def __init__(self, tokenizer: Any, told: SequenceSettings) -> None:
        self.tokenizer, self.settings = tokenizer, told

    @property
    @abstractmethod
    def runner(self) -> Writer:
        """The network, as exports are held against it."""

    @property
    @abstractmethod
    def ends(self) -> Sequence[int]:
        """The tokens that end what it writes."""

    @abstractmethod
    def replies(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """What is written after sources that fit into memory together, at most ``new_tokens`` each, with
        what ends it."""

    @property
    def device(self) -> str:
        """What it runs on, as PyTorch calls it."""
        return "cpu"

    @property
    def way(self) -> Way:
        """How its expansions are searched with."""
        return Way(self.settings.combine, self.settings.original_weight)

    def source(self, query: str) -> list[int]:
        """What is read of ``query``, at most ``window`` tokens of it."""
        return _READS[self.settings.student](self.tokenizer, query, self.settings.window)

    def write(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """The same without what ends it."""
        ends = {*self.ends}
        return [[token for token in reply if token not in ends] for reply in self.replies(sources)]

    def expand(self, queries: Sequence[str]) -> list[list[str]]:
        """The variants of each; none where it is to be left alone."""
        sources = [self.source(query) for query in queries]
        found: list[list[str]] = [[] for _ in queries]
        lengths = [len(source) + self.settings.new_tokens for source in sources]
        for places in token_budget_batches(lengths, BATCH_TOKENS[self.device]):
            written = self.write([sources[place] for place in places])
            for place, ids in zip(places, written, strict=True):
                found[place] = separated(self.tokenizer.decode(ids, skip_special_tokens=True))
        return found

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The queries as they are to be searched with; see ``Way.text``."""
        texts = [query.text for query in queries]
        pairs = zip(texts, self.expand(texts), strict=True)
        return [self.way.text(*each) if each[1] else each[0] for each in pairs]

    def appending(self) -> Self:
        """The same, whose expansions go behind the query whatever it was trained for: a query that stands
        by itself, where nobody fuses."""
        self.settings = replace(self.settings, combine="append")
        return self
