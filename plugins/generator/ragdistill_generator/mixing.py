"""``--mix``: general text between the answers, so that a student does not forget the rest of its language
(experience replay; of what is learnt, 0.3 general is usual)."""

from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.sampling import sample
from ragdistill.errors import UserError
from ragdistill_generator.lesson import Example
from ragdistill_generator.reading import Reading

PIECE = 128
"""Tokens of a text that are learnt, at most."""


@dataclass(frozen=True)
class Mix:
    """Texts of a collection, and their share of the tokens that are learnt."""

    data: str
    share: float

    @classmethod
    def of(cls, text: str) -> "Mix":
        """What ``DATA:SHARE`` says.

        Raises:
            UserError: it says no share between 0 and 1.
        """
        data, _, share = text.rpartition(":")
        try:
            found = cls(data, float(share))
        except ValueError:
            found = cls("", 0.0)
        if not found.data or not 0 < found.share < 1:
            raise UserError(
                f"{text!r} names no data with a share above 0 and below 1",
                where="--mix",
                mend="give both, as pydocs:0.3",
            )
        return found

    @cached_property
    def collection(self) -> Collection:
        """What it names."""
        return load(self.data)

    def examples(
        self, reading: Reading, answers: int, seed: int, apart: Container[str] = ()
    ) -> list[Example]:
        """Beginnings of texts, each token after the first to be foretold, so many that they are that share
        beside so many tokens of ``answers``; all of them where there are too few. Texts that are ``apart``
        are left out.

        Raises:
            UserError: it holds no text.
        """
        wanted = self.share / (1 - self.share) * answers
        documents = [each for each in self.collection.documents if each.content not in apart]
        found: list[Example] = []
        # Each text is at least one token: of more than these none is needed.
        for document in sample(documents, round(wanted) + 1, seed, key=lambda each: each.id):
            ids = reading.ids(document.content, PIECE)
            if len(ids) > 1:
                found.append(Example(ids[:1], [], ids[1:]))
            if sum(len(each.answer) for each in found) >= wanted:
                return found
        if not found:
            raise UserError("holds no text of two tokens", where=f"--mix {self.data}")
        return found

    def describe(self, examples: list[Example]) -> dict[str, Any]:
        """For the report."""
        return {
            "name": self.collection.name,
            "texts": len(examples),
            "tokens": sum(len(each.answer) for each in examples),
        }
