"""Who teaches while the student learns: the teacher's network, one that trains along, the student's own
moving average (mean teacher, arXiv:1703.01780), a second student (arXiv:1706.00384)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragdistill.packing import Row
from ragdistill.training.fitting import COLUMN, Course
from ragdistill.training.language import LABELS, LanguageTrainer
from ragdistill_generator.lesson import Batches, Lesson
from ragdistill_generator.objective import LABELS_ALONE, AnswerLoss
from ragdistill_generator.on_policy import LiveBatches, SampledBatches, Sampling, untold
from ragdistill_generator.policy_options import ASKED, DECAY, OWN, TUTOR_LR, TutorName
from ragdistill_generator.training import Parts, Recipe, nothing, prepare
from ragdistill_generator.tutored_loss import TutoredLoss

_FILE = "tutor.safetensors"


@dataclass
class Tutor:
    """One that says how likely tokens are while the student learns."""

    name: TutorName
    network: Any
    """Of ``average`` as the student begins; of what learns in float32."""
    lr: float = TUTOR_LR
    """Of ``trained``: its peak."""
    decay: float = DECAY
    """Of ``average``: what a step leaves of it."""
    sampling: Sampling | None = None
    """How the student samples what it is taught on; None where it does not."""

    def parts(self, network: Any, lesson: Lesson, rows: Sequence[Row], recipe: Recipe) -> Parts:
        """What the loop takes for a student, whose weights are set to be trained."""
        merge: Callable[[], object] = nothing
        if self.name != "live":
            # Low-rank updates of a peer begin otherwise, else it would remain what the student is.
            merge = prepare(self.network, replace(recipe, seed=recipe.seed + (self.name == "peer")))
        if self.name in ("live", "average"):
            self.network.requires_grad_(False)
        reading = recipe.context_weight * lesson.answers_to_contexts
        if self.name in ASKED:
            reading = recipe.context_weight * _answers_to_contexts(lesson)
        lesson = untold(lesson, contexts=self.name in OWN)
        batches = Batches(lesson, rows) if self.name in OWN else LiveBatches(lesson, rows)
        if self.sampling is not None:
            batches = SampledBatches(lesson, rows, self.sampling)
        ours = (self.name, recipe.objective, recipe.vocabulary, reading)
        loss = TutoredLoss(network, self.network, *ours)
        return Parts(
            loss,
            batches,
            kind=partial(TutoredTrainer, tutor=self),
            maps={} if self.name == "live" else {_FILE: self.network},
            merge=merge,
            fault=lambda: loss.fault,
        )

    def after(self, network: Any, batches: Batches, course: Course) -> tuple[Any, dict[str, Any]]:
        """Which network is kept of what has been learnt, and what is said of it: of the student and one
        that is made of it the better by the held-out answers."""
        if self.name not in OWN:
            return network, {}
        both = {"student": network, self.name: self.network}
        losses = {name: held_out(each, batches, course) for name, each in both.items()}
        best = min(losses, key=losses.__getitem__)
        return both[best], {"tutor_held_out": losses, "kept": best}


def _answers_to_contexts(lesson: Lesson) -> float:
    """Tokens of answers for each token of a context that is foretold."""
    read = [tuple(each.beginning) for each in lesson.examples]
    # Where rows are not shared, a beginning is read with each question about it.
    contexts = sum(len(each) - 1 for each in (set(read) if lesson.together else read))
    answers = sum(len(each.answer) for each in lesson.examples)
    return answers / max(contexts, 1)


@torch.no_grad()
def held_out(network: Any, batches: Batches, course: Course) -> float:
    """Cross-entropy of the answers that are held out, in nats a token."""
    loss = AnswerLoss(network, LABELS_ALONE)
    total, tokens = 0.0, 0
    for places in course.check:
        batch = batches([{COLUMN: place} for place in places])
        batch = {name: value.to(network.device) for name, value in batch.items()}
        total += float(loss(**batch, normaliser=1.0))
        tokens += len(batch[LABELS])
    return total / max(tokens, 1)


class TutoredTrainer(LanguageTrainer):
    """The trainer, with a tutor that learns at its own pace, follows the student, or is asked of what the
    student samples."""

    def __init__(self, *, tutor: Tutor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tutor = tutor
        self._until = 0
        if tutor.name == "average":
            self.add_callback(Following(tutor, self._student))

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """As transformers has it, but for a trained tutor's rate."""
        made = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        if made and self._tutor.name == "trained":
            apart = {id(weight) for weight in self._tutor.network.parameters()}
            for group in list(optimizer.param_groups):
                theirs = [weight for weight in group["params"] if id(weight) in apart]
                group["params"] = [w for w in group["params"] if id(w) not in apart]
                if theirs:
                    rate = {"params": theirs, "lr": self._tutor.lr}
                    optimizer.add_param_group({**group, **rate})
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of the schedule; where the student samples only which rows they are of, for what is
        in them is not known before it is their turn."""
        if self._tutor.sampling is None:
            return super().get_train_dataloader()
        known, self.data_collator = self.data_collator, _numbers
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = known

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, *args: Any, **kwargs: Any
    ) -> Any:
        """The batches of a step; see :mod:`ragdistill_generator.on_policy`."""
        if self._tutor.sampling is None:
            return super().get_batch_samples(epoch_iterator, num_batches, *args, **kwargs)
        step, batches = self.state.global_step, self._sampled
        share, count = self.accelerator.process_index, self.accelerator.num_processes
        mine = self._schedules[0].batches[share::count]
        each = self.args.gradient_accumulation_steps
        if step >= self._until:
            self._until = self._tutor.sampling.next_draw(step, int(self.args.save_steps))
            coming = range(step * each, min(self._until * each, len(mine)))
            batches.draw(self._student, {number: mine[number] for number in coming})
        numbers = range(step * each, step * each + num_batches)
        # The iterator comes last: it is not to be asked for more than there are numbers.
        pairs = zip(numbers, epoch_iterator, strict=False)
        told = [batches.made(number, rows[COLUMN].tolist()) for number, rows in pairs]
        return super().get_batch_samples(iter(told), num_batches, *args, **kwargs)

    @property
    def _sampled(self) -> SampledBatches:
        assert isinstance(self.data_collator, SampledBatches)
        return self.data_collator


def _numbers(batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    return {COLUMN: torch.tensor([row[COLUMN] for row in batch])}


class Following(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Moves the average after each step; at first it is of few steps, as the mean teacher's."""

    def __init__(self, tutor: Tutor, student: nn.Module) -> None:
        self._tutor, self._student = tutor, student

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One more step is in it."""
        keep = min(self._tutor.decay, 1 - 1 / (state.global_step + 1))
        pairs = zip(self._tutor.network.parameters(), self._student.parameters(), strict=True)
        for mean, weight in pairs:
            if weight.requires_grad:
                mean.lerp_(weight.to(mean.dtype), 1 - keep)
