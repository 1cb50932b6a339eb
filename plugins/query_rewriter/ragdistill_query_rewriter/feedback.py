"""Retrieval feedback as a teacher: without a language model it writes the words of the documents that a
query finds first. What it wrote is stored as any teacher's text is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ragdistill.data.collection import Query
from ragdistill.files import sha256_json
from ragdistill.first_stage import NONE, FirstStage, Words
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.writing import AT_ONCE, Forecast, Messages
from ragdistill_query_rewriter.relevance import COMMON, rm1, rm3
from ragdistill_query_rewriter.words import words


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """What of the first documents is taken."""

    documents: int = 10
    terms: int = 10
    original_weight: float = 0.5


def messages(query: Query) -> Messages:
    """What it is asked: the query."""
    return [{"role": "user", "content": query.text}]


class Feedback:
    """Terms of RM3; see ``Writer``."""

    name = "rm3"

    def __init__(
        self,
        documents: Sequence[str],
        digest: str,
        retriever: tuple[str, str],
        stage: Callable[[], FirstStage],
        lexicon: Callable[[], Words],
        settings: FeedbackSettings,
    ) -> None:
        """Nothing is searched yet.

        Args:
            documents: the texts that ``stage`` finds places of.
            digest: theirs.
            retriever: name and digest of the stage.
            stage: finds the first documents.
            lexicon: says how many documents have a word.
        """
        self._documents, self._retriever = documents, retriever
        self._stage, self._lexicon, self.settings = stage, lexicon, settings
        self.digest = sha256_json([digest, retriever[1]])

    @property
    def known_as(self) -> str:
        """What the store knows it by: other documents, or another retriever, are another teacher."""
        return f"{self.name} of {self.digest[:12]}"

    def meet(self, needed: Callable[[], bool]) -> None:
        """See ``Writer``; it is what it is."""

    def fingerprint(self) -> Fingerprint:
        """See ``Writer``."""
        return Fingerprint(
            kind="text",
            weights=self.digest,
            tokenizer="",
            prompt=self.name,
            dtype="utf8",
            parameters={**asdict(self.settings), "common": COMMON},
        )

    def drawing(self, seed: int) -> "Feedback":
        """See ``Writer``; nothing is drawn."""
        return self

    def likeliest(self) -> "Feedback":
        """See ``Writer``; nothing is drawn."""
        return self

    def forecast(self, requests: Iterable[Messages]) -> Forecast:
        """See ``Writer``; a search for each, and no token."""
        return Forecast(0, 0, None)

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """Nobody bills it."""
        return 0.0

    def describe(self) -> dict[str, Any]:
        """See ``Writer``."""
        return {
            "name": self.name,
            "digest": self.digest,
            "parameters": None,
            "licence": None,
            "retriever": self._retriever[0],
            **{f"feedback_{name}": value for name, value in asdict(self.settings).items()},
        }

    def write(self, requests: Sequence[Messages]) -> Iterator[tuple[list[int], list[str], int]]:
        """See ``Writer``: of each query the terms that it has not, the greatest weight first."""
        for start in range(0, len(requests), AT_ONCE):
            asked = [request[-1]["content"] for request in requests[start : start + AT_ONCE]]
            found = self._stage().find(asked, self.settings.documents)
            rows = zip(asked, found.places.tolist(), found.scores.tolist(), strict=True)
            for place, (query, places, scores) in enumerate(rows, start=start):
                told = [pair for pair in zip(places, scores, strict=True) if pair[0] != NONE]
                yield [place], [" ".join(self._terms(query, told))], 0

    def _terms(self, query: str, found: Sequence[tuple[int, float]]) -> list[str]:
        own = words(query)
        texts = [self._words_of(place) for place, _ in found]
        told = rm1(texts, [score for _, score in found], self.settings.terms, self._useful)
        weights = rm3(own, told, self.settings.original_weight)
        return [word for word in weights if word not in {*own}]

    def _words_of(self, place: int) -> list[str]:
        return words(self._documents[place])

    @cached_property
    def _known(self) -> Words:
        return self._lexicon()

    def _useful(self, word: str) -> bool:
        # Of a handful of documents every word is in more than a tenth.
        most = max(COMMON * len(self._documents), self.settings.documents)
        return 0 < self._known.held_by(word) <= most
