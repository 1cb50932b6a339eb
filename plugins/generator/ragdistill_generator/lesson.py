"""What a student learns answers from, and the batches that it comes in.

Questions about the same contexts stand behind them in one row: the contexts are read once, and each
question with its answer sees them and itself only (:mod:`ragdistill.packing`). Where five questions are
asked of a paragraph that is a third of the tokens, and the numbers are those of each alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ragdistill import causal
from ragdistill.data.sampling import sample
from ragdistill.losses import SparseTargets
from ragdistill.packing import Group, Row, Tokens, pack
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.training.fitting import BLANK, COLUMN, Course
from ragdistill.training.language import LABELS
from ragdistill.training.reading import packed, padded, shares
from ragdistill.training.schedule import Schedule, evaluation_schedule, training_schedule

HELD_OUT, HELD_OUT_LEAST, HELD_OUT_MOST = 0.05, 8, 32
"""Share of the beginnings that only the held-out loss sees, and how many at least and at most."""
TARGETS = ("target_ids", "target_probs", "target_tail")
PLACES = "places"
READ = ("read_places", "read_ids", "read_probs", "read_tail")


@dataclass(frozen=True)
class Example:
    """An answer to a question about some contexts, as token ids.

    Raises:
        ValueError: there is no answer, nothing before it, or what the teacher said is of another number
            of tokens, or of tokens that are none.
    """

    beginning: Tokens
    """Up to the contexts' end: shared by all questions about them."""
    question: Tokens
    """The rest, up to where the answer begins."""
    answer: Tokens
    """With the token that ends it."""
    targets: TokenDistributions | None = None
    """What the teacher said of each token of the answer; without it the answer itself is learnt."""
    read: TokenDistributions | None = None
    """What it said of each token of the beginning but the first."""
    taught: Sequence[int] | None = None
    """Places in the answer of the tokens that ``targets`` are of, ascending; None for all of them."""

    def __post_init__(self) -> None:
        if not self.answer or not (self.beginning or self.question):
            raise ValueError("an answer has tokens, and some before it")
        if self.read is not None and len(self.read) != len(self.beginning) - 1:
            raise ValueError(f"{len(self.read)} distributions, {len(self.beginning)} tokens")
        places = range(len(self.answer)) if self.taught is None else self.taught
        if self.targets is not None and len(self.targets) != len(places):
            raise ValueError(f"{len(self.targets)} distributions, {len(places)} tokens")
        if any(not 0 <= place < len(self.answer) for place in places):
            raise ValueError(f"tokens {list(places)} of an answer of {len(self.answer)}")

    def __len__(self) -> int:
        return len(self.beginning) + len(self.question) + len(self.answer)

    @property
    def told(self) -> Sequence[int]:
        """Places in the answer of the tokens of which the teacher said something."""
        if self.targets is None:
            return ()
        return range(len(self.answer)) if self.taught is None else self.taught


@dataclass(frozen=True)
class Lesson:
    """Examples, and how they are read."""

    examples: Sequence[Example]
    batch_tokens: int
    """Of a row, and of all rows of a batch, padding counted; a longer example is a row of its own."""
    together: bool = True
    """Whether what shares a beginning is read in one row."""
    pad: int = 0

    @property
    def answers_to_contexts(self) -> float:
        """Tokens of answers for each token of a beginning of which the teacher said something."""
        shared = _by_beginning(self.examples, range(len(self.examples)))
        # Where rows are not shared, a beginning is read with each question about it.
        every = [members[:1] if self.together else members for members in shared.values()]
        told = (self.examples[place].read for members in every for place in members)
        return sum(len(each.answer) for each in self.examples) / max(
            sum(len(said) for said in told if said is not None), 1
        )

    def read_by(self, network: Any) -> "Lesson":
        """The same, in rows that ``network`` can read."""
        longest = max(map(len, self.examples))
        rows = len(network.get_input_embeddings().weight)
        parts = ((each.beginning, each.question, each.answer) for each in self.examples)
        causal.check_ids(max(max(part) for each in parts for part in each if part), rows)
        pad = self.pad if self.pad < rows else 0
        return replace(self, together=self.together and shares(network, longest), pad=pad)

    def divided(self, seed: int) -> tuple[list[int], list[int]]:
        """Places of the examples that are learnt, and of those held out: all of a beginning, unless
        there are too few beginnings."""
        shared = list(_by_beginning(self.examples, range(len(self.examples))).values())
        if len(shared) < 2 * HELD_OUT_LEAST:
            shared = [[place] for place in range(len(self.examples))]
        wanted = min(max(HELD_OUT_LEAST, round(HELD_OUT * len(shared))), HELD_OUT_MOST)
        wanted = max(1, min(wanted, len(shared) // 2))
        apart = sample(range(len(shared)), wanted, seed, key=str)
        learnt = sorted({*range(len(shared))} - {*apart})
        return tuple(  # type: ignore[return-value]
            [place for which in side for place in shared[which]] for side in (learnt, apart)
        )

    def rows(self, places: Sequence[int]) -> list[Row]:
        """The examples at ``places``, each in one row; a row's spans have their places."""
        budget = self.batch_tokens if self.together else 0
        rows: list[Row] = []
        for members in _by_beginning(self.examples, places).values():
            told = [(place, self._behind(place)) for place in members]
            # Of one group each row is full before the next begins.
            rows += pack([Group(self.examples[members[0]].beginning, told)], budget)
        return rows

    def _behind(self, place: int) -> Tokens:
        return [*self.examples[place].question, *self.examples[place].answer]


def _by_beginning(
    examples: Sequence[Example], places: Sequence[int]
) -> dict[tuple[int, ...], list[int]]:
    found: dict[tuple[int, ...], list[int]] = {}
    for place in places:
        found.setdefault(tuple(examples[place].beginning), []).append(place)
    return found


class Batches:
    """The collator: rows of a lesson as a batch of tensors."""

    def __init__(self, lesson: Lesson, rows: Sequence[Row]) -> None:
        self._lesson, self._rows = lesson, rows

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Of rows ``{COLUMN: place}`` the model's inputs ``[r, l]``; ``places`` ``[n]``, among the r * l, of
        the states that foretell the answers' tokens, and those as ``labels`` ``[n]``; of the first m what
        the teacher said, as of ``SparseTargets``; the same of the beginnings' tokens, as :data:`READ`. A
        blank row is one to read, with no answer in it."""
        places = [row[COLUMN] for row in batch]
        blank = places == [BLANK]
        rows = [self._rows[0 if blank else place] for place in places]
        make = packed if self._lesson.together else padded
        made: dict[str, Any] = make(rows, self._lesson.pad)
        wide = made["input_ids"].shape[1]
        told = [] if blank else rows
        return made | self._answers(told, wide) | self._beginnings(told, wide)

    def _beginnings(self, rows: Sequence[Row], wide: int) -> dict[str, Tensor]:
        chosen: list[int] = []
        targets = []
        for number, row in enumerate(rows):
            owner = {span.behind: self._lesson.examples[span.place] for span in row.spans}
            for start, end in row.blocks:
                said = owner[end].read
                if said is not None:
                    chosen += range(number * wide + start, number * wide + end - 1)
                    targets.append(said)
        kept = SparseTargets.of(targets)
        made = (torch.tensor(chosen, dtype=torch.int64), kept.ids, kept.probs, kept.tail)
        return dict(zip(READ, made, strict=True))

    def _answers(self, rows: Sequence[Row], wide: int) -> dict[str, Tensor]:
        taught: list[tuple[int, int]] = []
        untaught: list[tuple[int, int]] = []
        targets: list[TokenDistributions] = []
        for number, row in enumerate(rows):
            for span in row.spans:
                example = self._lesson.examples[span.place]
                before = list(span.before)[-len(example.answer) :]
                told = {*example.told}
                for at, (place, label) in enumerate(zip(before, example.answer, strict=True)):
                    (taught if at in told else untaught).append((number * wide + place, label))
                if example.targets is not None:
                    targets.append(example.targets)
        # Those of which the teacher said something come first.
        chosen, labels = zip(*taught, *untaught, strict=True) if taught or untaught else ((), ())
        said = SparseTargets.of(targets)
        made = {PLACES: torch.tensor(chosen, dtype=torch.int64)}
        made[LABELS] = torch.tensor(labels, dtype=torch.int64)
        return made | dict(zip(TARGETS, (said.ids, said.probs, said.tail), strict=True))


def make_course(
    lesson: Lesson, *, epochs: float, seed: int
) -> tuple[Course, list[Row], tuple[int, int]]:
    """The steps, the rows that they name, and how many examples are learnt and held out."""
    learnt, apart = lesson.divided(seed)
    ours, theirs = lesson.rows(learnt), lesson.rows(apart)
    rows = ours + theirs
    lengths = [len(row.tokens) for row in rows]
    train = training_schedule(
        lengths[: len(ours)],
        epochs=epochs,
        max_tokens=sum(lengths) * (int(epochs) + 1),
        batch_tokens=lesson.batch_tokens,
        seed=seed,
    )
    held_out = evaluation_schedule(lengths[len(ours) :], lesson.batch_tokens)
    check = Schedule([[len(ours) + place for place in batch] for batch in held_out])
    tokens = [sum(lengths[place] for place in batch) for batch in train]
    return Course(len(rows), train, check, tokens), rows, (len(learnt), len(apart))
