"""A teacher of other tokens, or of another chat template: what it says of the tokens of an answer, as the student
reads the same answer.

Each of the two reads the question in its own template and tokens; only the bytes of the answer are aligned
(:mod:`ragdistill.alignment`). What is stored stays in the teacher's tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ragdistill.alignment import (
    Coverage,
    Pair,
    byte_ends,
    facing,
    shared_ids,
    total,
    translated,
)
from ragdistill.causal import is_word
from ragdistill.errors import UserError
from ragdistill.signals.distributions import Array
from ragdistill_generator.cases import Case
from ragdistill_generator.lesson import Example, Lesson
from ragdistill_generator.reading import Reading


@dataclass(frozen=True)
class Translation:
    """From the tokens of ``theirs`` to those of ``ours``."""

    theirs: Reading
    ours: Reading
    chain: bool = True
    """Whether probabilities of several tokens may be multiplied: at temperature 1."""

    @cached_property
    def shared(self) -> Array:
        """Of each of their ids ours of the same string: int64 ``[v]``."""
        found = shared_ids(self.theirs.tokenizer, self.ours.tokenizer)
        for place, end in enumerate(self.theirs.ends):
            # A word that ends answers, too, is that word wherever an answer goes on.
            told = place == 0 or not is_word(self.theirs.tokenizer, end)
            if told and self.ours.ends and 0 <= end < len(found):
                found[end] = self.ours.ends[0]
        return found

    def read(self, pairs: Sequence[tuple[Case, str]]) -> list[tuple[Case, str]]:
        """Of ``pairs`` those with an answer that both can say."""
        return [pair for pair in pairs if self.theirs.answer(pair[1]) and self.ours.answer(pair[1])]

    def pairs(self, text: str) -> list[Pair]:
        """Which tokens of an answer face which, the one that ends it, too."""
        told, said = self.theirs.answer(text), self.ours.answer(text)
        left = byte_ends(self.theirs.tokenizer, text)[: len(told)]
        right = byte_ends(self.ours.tokenizer, text)[: len(said)]
        unknown = self.theirs.tokenizer.unk_token_id
        found = [
            pair
            for pair in facing(left, right, told, said, self.shared)
            # How likely it is that something unknown comes, says nothing of what comes.
            if unknown is None or unknown not in told[pair.start : pair.stop]
        ]
        # An answer that one of them cut does not end.
        whole = self.theirs.whole(text) and self.ours.whole(text)
        if whole and self.theirs.ends and self.ours.ends:
            found.append(Pair(len(said), len(told), len(told) + 1))
        return found

    def foreseen(self, texts: Sequence[str]) -> Coverage:
        """How many tokens of some answers will have a distribution; of its mass nothing is known yet."""
        return total([self._foreseen(text) for text in texts])

    def _foreseen(self, text: str) -> Coverage:
        pairs = self.pairs(text)
        alone = sum(pair.stop - pair.start == 1 for pair in pairs)
        merged = len(pairs) - alone if self.chain else 0
        return Coverage(len(self.ours.written(text)), alone, merged)

    def lesson(self, texts: Sequence[str], told: Lesson, lesson: Lesson) -> tuple[Lesson, Coverage]:
        """The student's ``lesson`` with what the teacher said of the same answers, ``told``; nothing of contexts.

        Raises:
            ValueError: they are not of the same ``texts``.
        """
        found, coverage = [], []
        for text, theirs, ours in zip(texts, told.examples, lesson.examples, strict=True):
            example, covered = self._example(text, theirs, ours)
            found.append(example)
            coverage.append(covered)
        return replace(lesson, examples=found), total(coverage)

    def _example(self, text: str, theirs: Example, ours: Example) -> tuple[Example, Coverage]:
        if theirs.targets is None:
            raise ValueError("nothing is known of what the teacher said")
        said, places, coverage = translated(
            theirs.targets, self.pairs(text), ours.answer, self.shared, chain=self.chain
        )
        return replace(ours, targets=said, taught=places if said else None), coverage


def check(coverage: Coverage, least: float, *, theirs: str, ours: str, mass: bool) -> None:
    """Refuse what would leave most to the labels alone.

    Args:
        coverage: of the answers that are learnt.
        least: the share that there must be, of tokens and, with ``mass``, of what is said of them.
        theirs: the teacher's name.
        ours: the student's.

    Raises:
        UserError: there is less.
    """
    mend = "give --method sequence, a student with the teacher's tokenizer, or a lower --coverage"
    if coverage.of_tokens < least:
        raise UserError(
            f"the tokens of {theirs} and {ours} cover the same text for {coverage.of_tokens:.1%} of an answer's "
            f"tokens, below {least:.0%}",
            where="--coverage",
            mend=mend,
        )
    if mass and (coverage.of_mass or 0.0) < least:
        raise UserError(
            f"{ours} has tokens for {coverage.of_mass or 0.0:.1%} of what {theirs} says, below {least:.0%}",
            where="--coverage",
            mend=mend,
        )
