"""Picking words of a conversation, wherever the network runs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Query
from ragdistill_query_rewriter.reading import Page, PageReader
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.words import pick

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is thought of a turn."""

    lacking: float
    """The chance that it does not find its documents by itself."""
    words: dict[str, float]
    """The chance of each word of the conversation that it lacks it, by the word as it stands."""


class Selector(ABC):
    """Picks words, wherever its network runs."""

    settings: Settings
    reader: PageReader

    @abstractmethod
    def logits(self, pages: Sequence[Page]) -> list[Logits]:
        """Of each page, of each token: how much more likely it begins a word that is to be added than one
        that is not, as a difference of logits ``[tokens]``; of the first token, which begins none, how
        much more likely the turn lacks something than not."""

    def read(self, queries: Sequence[Query]) -> list[Page]:
        """The pages of turns."""
        return [self.reader.read(query.context_turns, query.text) for query in queries]

    def opinions(self, pages: Sequence[Page]) -> list[Opinion]:
        """What is thought of each page."""
        return [_opinion(page, said) for page, said in zip(pages, self.logits(pages), strict=True)]

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The turns with the words that they lack."""
        pages = self.read(queries)
        return [
            decide(query.text, opinion, self.settings)
            for query, opinion in zip(queries, self.opinions(pages), strict=True)
        ]


def decide(query: str, opinion: Opinion, told: Settings) -> str:
    """The turn as it is, or with the words that it lacks."""
    if opinion.lacking <= told.skip:
        return query
    return pick(query, opinion.words, told.threshold, told.most)


def _opinion(page: Page, said: Logits) -> Opinion:
    best = (float(said[places].max()) for places in page.words.values())
    words = {form: _chance(value) for form, value in zip(page.forms, best, strict=True)}
    return Opinion(_chance(float(said[0])), words)


def _chance(logit: float) -> float:
    return 1 / (1 + float(np.exp(-logit)))
