"""How a model reads a question and its answer: in its own tokens, and within its own chat template."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdistill.causal import text_ids
from ragdistill.errors import UserError
from ragdistill.packing import Tokens
from ragdistill_generator.cases import Case
from ragdistill_generator.lesson import Example, Lesson
from ragdistill_generator.prompts import Prompter


@dataclass(frozen=True)
class Reading:
    """One model's."""

    tokenizer: Any
    prompter: Prompter
    ends: Sequence[int]
    """The tokens that end an answer, the usual one first."""
    answer_tokens: int
    batch_tokens: int

    def answer(self, text: str) -> list[int]:
        """An answer's tokens without the one that ends it, no more than are written."""
        return self._said(text)[: self.answer_tokens - 1] if text else []

    def whole(self, text: str) -> bool:
        """Whether an answer is no longer than what is written."""
        return len(self._said(text)) < self.answer_tokens

    def _said(self, text: str) -> list[int]:
        """All of them. Where an ordinary word ends answers, and is in the text as their end, it is taken
        away: it is not to be learnt twice."""
        ids = text_ids(self.tokenizer, text)
        return ids[:-1] if len(ids) > 1 and ids[-1:] == list(self.ends[:1]) else ids

    def check_ends(self, texts: Sequence[str], where: Path) -> None:
        """Refuse answers that hold what ends them: whoever writes them would stop there.

        Args:
            texts: the answers.
            where: the model that is to write them.

        Raises:
            UserError: one of them does.
        """
        if not self.ends:
            return
        held = sum(self.ends[0] in self.answer(text) for text in texts)
        if held:
            word = self.tokenizer.convert_ids_to_tokens(self.ends[0])
            raise UserError(
                f"{held:,} of {len(texts):,} answers hold the token {word!r} ({self.ends[0]}), by which it ends "
                "an answer",
                where=where,
                mend="name one that is no ordinary word as eos_token_id, in its generation_config.json if "
                "there is one, else in config.json",
            )

    def written(self, text: str) -> list[int]:
        """An answer's tokens with the one that ends it; one that is cut does not end, for who learns it would
        learn to break off."""
        ids = self.answer(text)
        return [*ids, *self.ends[:1]] if ids and self.whole(text) else ids

    def ids(self, text: str, most: int) -> list[int]:
        """The first tokens of any text."""
        return text_ids(self.tokenizer, text)[:most]

    def example(self, case: Case, answer: Tokens) -> Example:
        """A question with its answer, as it is to be written."""
        prompt = self.prompter.encode(case)
        return Example(prompt.beginning, prompt.question, answer)

    def lesson(self, pairs: Iterable[tuple[Case, str]]) -> Lesson:
        """Cases with answers as tokens; empty answers are left out."""
        told = ((case, self.written(text)) for case, text in pairs)
        examples = [self.example(case, ids) for case, ids in told if ids]
        return Lesson(examples, self.batch_tokens, pad=self.tokenizer.pad_token_id or 0)

    def like(self, other: "Reading") -> bool:
        """Whether both read the same tokens in the same template, and end an answer by the same."""
        same = self.same_tokens(other) and self.ends[:1] == other.ends[:1]
        return same and self.prompter.template == other.prompter.template

    def same_tokens(self, other: "Reading") -> bool:
        """Whether both have the same tokens."""
        if self.tokenizer is other.tokenizer:
            return True
        return bool(self.tokenizer.get_vocab() == other.tokenizer.get_vocab())
