"""What each word of a conversation would do to the search for what its turn asks for.

A BM25 score is a sum over the words of a query, so what a word adds to each document is known before it
is added, and a choice of words can be taught by where it puts the relevant documents (effect), beside
whether a human chose them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.collection import Document, Query
from ragdistill.first_stage import NONE, Scores, Words
from ragdistill_query_rewriter.reading import Page
from ragdistill_query_rewriter.words import joined

FOUND_WELL = 3
"""A turn is found well as it is where a relevant document is among the first so many."""
COMPARED = 128
"""Documents that a turn's relevant ones are compared with, at most."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One turn's documents: those that are relevant, and those that its words would find."""

    base: Scores
    """What the turn's own words give each, ``[c]``."""
    gains: Scores
    """What each word of the conversation adds, ``[w, c]``, in the order of ``Page.words``."""
    relevant: NDArray[np.bool_]
    """``[c]``"""

    @property
    def found_well(self) -> bool:
        """Whether a relevant document is among the first :data:`FOUND_WELL` of what the turn finds."""
        best = self.base[self.relevant].max(initial=0)
        return bool(best > 0 and (self.base[~self.relevant] >= best).sum() < FOUND_WELL)


def measure(
    stage: Words,
    documents: Sequence[Document],
    queries: Sequence[Query],
    pages: Sequence[Page],
    rewrites: Sequence[str | None],
    judged: Mapping[str, Mapping[str, int]],
) -> list[Effect | None]:
    """The effects of each turn; None where nothing is judged or nothing can be added.

    The documents compared are those that the turn, the turn with all of its conversation and the
    rewrite find first, taken in turns.
    """
    places = {document.id: place for place, document in enumerate(documents)}
    asked = [place for place, query in enumerate(queries) if query.id in judged]
    asked = [place for place in asked if pages[place].words]
    found: list[Effect | None] = [None] * len(queries)
    listed = [
        stage.find(texts, COMPARED).places if texts else np.zeros((0, 0), np.int64)
        for texts in (
            [queries[place].text for place in asked],
            [joined(queries[place].text, list(pages[place].words)) for place in asked],
            [rewrites[place] or queries[place].text for place in asked],
        )
    ]
    for row, place in enumerate(asked):
        grades = judged[queries[place].id]
        relevant = [places[name] for name, grade in grades.items() if grade > 0 and name in places]
        others = np.stack([every[row] for every in listed], axis=1).ravel()
        compared = dict.fromkeys([*relevant, *(int(o) for o in others if o != NONE)])
        kept = np.array(list(compared)[: max(COMPARED, len(relevant))], dtype=np.int64)
        if relevant:
            found[place] = Effect(
                stage.scores_of(queries[place].text, kept),
                stage.added(list(pages[place].words), kept),
                np.arange(len(kept)) < len(relevant),
            )
    return found
