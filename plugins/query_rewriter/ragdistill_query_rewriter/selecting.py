"""Picking words of a conversation, wherever the network runs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Query
from ragdistill_query_rewriter.reading import Page, PageReader
from ragdistill_query_rewriter.settings import Settings
from ragdistill_query_rewriter.words import pick

Logits = NDArray[np.float32]


class Selector(ABC):
    """Picks words, wherever its network runs."""

    settings: Settings
    reader: PageReader

    @abstractmethod
    def logits(self, pages: Sequence[Page]) -> list[Logits]:
        """Of each page, of each token: how much more likely it begins a word that is to be added than one
        that is not, as a difference of logits ``[tokens]``."""

    def read(self, queries: Sequence[Query]) -> list[Page]:
        """The pages of turns."""
        return [self.reader.read(query.context_turns, query.text) for query in queries]

    def chances(self, pages: Sequence[Page]) -> list[dict[str, float]]:
        """Of each page the chance of each of its words, by the word as it stands."""
        return [_chances(page, said) for page, said in zip(pages, self.logits(pages), strict=True)]

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The turns with the words that they lack."""
        told = self.chances(self.read(queries))
        threshold, most = self.settings.threshold, self.settings.most
        return [
            pick(query.text, chances, threshold, most)
            for query, chances in zip(queries, told, strict=True)
        ]


def _chances(page: Page, said: Logits) -> dict[str, float]:
    best = (float(said[places].max()) for places in page.words.values())
    return {
        form: 1 / (1 + float(np.exp(-value))) for form, value in zip(page.forms, best, strict=True)
    }
