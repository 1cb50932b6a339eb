"""Learning on what the student itself writes: it samples answers, and the teacher says how likely each of
their tokens is. Generalised knowledge distillation (GKD), arXiv:2306.13649, with samples of many steps
drawn at once, for writing one answer at a time takes longer than learning it.

A student is at its samples' age at most ``refresh`` steps older than when it drew them. It draws anew
wherever a checkpoint is, so that a run that goes on from one has the samples that it would have had.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ragdistill.batching import token_budget_batches
from ragdistill.causal import NoNumbers, write
from ragdistill.drawing import Drawn
from ragdistill.errors import Diverged
from ragdistill.local_writer import BATCH_TOKENS
from ragdistill.packing import Row, Tokens
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.training.fitting import BLANK, COLUMN
from ragdistill_generator.lesson import READ, Batches, Lesson

SAMPLED = "sampled"
"""Which labels of a batch the student sampled, bool ``[n]``."""


@dataclass(frozen=True)
class Sampling:
    """How the student samples."""

    share: float
    """Of the answers (GKD's lambda)."""
    temperature: float
    """0 takes the likeliest words."""
    new_tokens: int
    """After which an answer is cut."""
    refresh: int | None
    """Steps after which it draws anew; None: wherever a checkpoint is."""
    tokenizer: Any
    seed: int

    def chosen(self, number: int, place: int) -> bool:
        """Whether the answer at ``place`` is sampled in the batch ``number``."""
        return random.Random(f"{self.seed} {number} {place}").random() < self.share

    def next_draw(self, step: int, checkpoints: int) -> int:
        """The step before which is drawn again, of samples drawn before ``step``."""
        every = (checkpoints, self.refresh or checkpoints)
        return min((step // each + 1) * each for each in every)


class LiveBatches(Batches):
    """The collator of rows of which a teacher is asked on the fly: contexts' tokens are told, and nothing
    that was said of them."""

    def _beginnings(self, rows: Sequence[Row], wide: int) -> dict[str, Tensor]:
        places = [
            number * wide + place
            for number, row in enumerate(rows)
            for start, end in row.blocks
            for place in range(start, end - 1)
        ]
        return _unsaid(places)


def _unsaid(places: Sequence[int]) -> dict[str, Tensor]:
    """Places of contexts' tokens with no distribution over any."""
    nothing = torch.empty(0, 1)
    made = (torch.tensor(places, dtype=torch.int64), nothing.long(), nothing, nothing[:, 0])
    return dict(zip(READ, made, strict=True))


class SampledBatches(LiveBatches):
    """The collator, with what the student sampled in place of some answers."""

    def __init__(self, lesson: Lesson, rows: Sequence[Row], sampling: Sampling) -> None:
        super().__init__(lesson, rows)
        self.sampling = sampling
        self._drawn: Mapping[tuple[int, int], Tokens] = {}

    def draw(self, network: Any, batches: Mapping[int, Sequence[int]]) -> None:
        """Have ``network`` answer what is sampled in ``batches``, rows by a batch's number; what was drawn
        before is forgotten.

        Raises:
            Diverged: it says NaN.
        """
        wanted = [
            (number, span.place)
            for number, rows in batches.items()
            for row in rows
            if row < len(self._rows)  # else it is a blank one
            for span in self._rows[row].spans
            if self.sampling.chosen(number, span.place)
        ]
        examples = [self._lesson.examples[place] for _, place in wanted]
        prompts = [[*example.beginning, *example.question] for example in examples]
        seeds = [f"{self.sampling.seed} {number} {place}" for number, place in wanted]
        self._drawn = dict(zip(wanted, self._written(network, prompts, seeds), strict=True))

    def _written(
        self, network: Any, prompts: Sequence[Tokens], seeds: Sequence[str]
    ) -> list[list[int]]:
        how = self.sampling
        replies: list[list[int]] = [[]] * len(prompts)
        lengths = [len(prompt) + how.new_tokens for prompt in prompts]
        for places in token_budget_batches(lengths, BATCH_TOKENS[network.device.type]):
            asked = [prompts[place] for place in places]
            own = [seeds[place] for place in places]
            drawn = Drawn(how.temperature, own) if how.temperature else None
            try:
                told = write(network, how.tokenizer, asked, how.new_tokens, drawn)
            except NoNumbers as error:
                raise Diverged(
                    "training diverged: the student says NaN or infinity of what it is to sample",
                    where="--lr",
                    mend="lower it",
                ) from error
            for place, reply in zip(places, told, strict=True):
                replies[place] = reply
        return replies

    def made(self, number: int, rows: Sequence[int]) -> dict[str, Any]:
        """The batch ``number``, of these rows, with what was drawn for it, and :data:`SAMPLED`."""
        if list(rows) == [BLANK]:
            return self([{COLUMN: BLANK}]) | {SAMPLED: torch.zeros(0, dtype=torch.bool)}
        spans = [span for row in rows for span in self._rows[row].spans]
        own = [self._drawn.get((number, span.place)) for span in spans]
        known = [self._lesson.examples[span.place] for span in spans]
        lesson = replace(
            self._lesson,
            examples=[
                replace(example, answer=answer or example.answer)
                for example, answer in zip(known, own, strict=True)
            ],
        )
        again = lesson.rows(range(len(spans)))
        batch = LiveBatches(lesson, again)([{COLUMN: place} for place in range(len(again))])
        marks = [
            own[span.place] is not None
            for row in again
            for span in row.spans
            for _ in lesson.examples[span.place].answer
        ]
        return batch | {SAMPLED: torch.tensor(marks)}


def untold(lesson: Lesson, *, contexts: bool) -> Lesson:
    """The lesson without what was said of its answers, and with ``contexts`` False of its contexts."""

    def read(said: TokenDistributions | None) -> TokenDistributions | None:
        return said if contexts else None

    examples = [replace(each, targets=None, read=read(each.read)) for each in lesson.examples]
    return replace(lesson, examples=examples)
