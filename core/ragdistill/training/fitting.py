"""The one training loop: any student and any loss, through sentence-transformers' trainer.

What is learnt in which step is settled before (a :class:`Course`), so that a killed run goes on bit for
bit as if it had never stopped, and several processes take the step that one would take.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.trainer import BaseTrainer
from sentence_transformers.base.training_args import BaseTrainingArguments
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ragdistill import processes
from ragdistill.errors import Diverged
from ragdistill.progress import Advance, track
from ragdistill.training import dealing, lora
from ragdistill.training.checkpoints import MarkComplete, last_complete
from ragdistill.training.schedule import Schedule
from ragdistill.training.trackers import writing_to

CHECKS = 10
"""How often in a run the held-out loss is taken and a checkpoint is written."""
PATIENCE = 3
"""Checks without improvement after which training stops."""
COLUMN = "text"
"""What a collator finds the place of an item under."""
BLANK = -1
"""In place of an item, for a process that has no share in a batch."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast is learnt, by what weights, and who is told."""

    lr: float
    """At its peak; it falls as a cosine."""
    seed: int
    warmup: float = 0.05
    """Share of the steps in which it rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    lora: int | None = None
    """Rank of the updates that are trained; None where all weights are."""
    trackers: tuple[str, ...] = ()
    """What the trainer reports to, as ``ragdistill.training.trackers`` names them."""


@dataclass(frozen=True)
class Course:
    """Which items are learnt from in which step, and which the held-out loss is of."""

    items: int
    """Places that ``train`` and ``check`` may name."""
    train: Schedule
    check: Schedule
    tokens: Sequence[int]
    """Of each step of ``train``, padding not counted."""


class ScheduledTrainer(BaseTrainer):  # type: ignore[misc,unused-ignore]
    """sentence-transformers' trainer on a fixed schedule of batches."""

    def __init__(
        self,
        *,
        schedules: tuple[Schedule, Schedule],
        maps: Mapping[str, nn.Module],
        partly: bool,
        **kwargs: Any,
    ) -> None:
        self._schedules = schedules
        self._partly = partly
        self._maps = maps
        super().__init__(**kwargs)

    def get_default_loss(self, model: BaseModel) -> nn.Module:
        """None: the loss is always given."""
        raise NotImplementedError

    def get_batch_sampler(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Schedule:
        """The schedule of the set that is asked for; sizes of batches are the schedule's own."""
        train, held_out = self._schedules
        return train if dataset is self.train_dataset else held_out

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is made from the report, and this one would ask the Hub."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights alone, as safetensors: no pickled arguments, no model card. The maps go with
        them, or a resumed run would begin with others."""
        folder = Path(output_dir or str(self.args.output_dir))
        if self._partly:
            lora.save_trainable(self.model, folder)
        else:
            self.model.save_pretrained(str(folder), create_model_card=False)
        for name, layer in self._maps.items():
            save_model(layer, str(folder / name))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights and maps of a checkpoint: to resume, or because it was the best."""
        if self._partly:
            lora.load_trainable(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint)
        for name, layer in self._maps.items():
            load_model(layer, Path(resume_from_checkpoint) / name)


class Bar(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Steps and tokens on stderr."""

    def __init__(self, advance: Advance, tokens: Sequence[int]) -> None:
        self._advance = advance
        self._tokens = tokens
        self._shown = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A resumed run begins where it was."""
        self._shown = state.global_step
        self._advance(self._shown, 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One more step."""
        self._advance(1, self._tokens[min(state.global_step, len(self._tokens)) - 1])


def run(
    model: BaseModel,
    loss: nn.Module,
    course: Course,
    collator: Any,
    pace: Pace,
    folder: Path,
    maps: Mapping[str, nn.Module],
) -> dict[str, Any]:
    """Train ``model`` in place; returns what happened (steps, tokens, losses by step).

    Goes on from the last whole checkpoint in ``folder`` and removes the checkpoints when it is done.
    The weights of the best held-out loss are kept.

    Args:
        loss: has the model as ``model``; of features and label to a scalar.
        collator: makes the features of rows ``{COLUMN: place}``.
        maps: what is trained besides, by the file that a checkpoint keeps it in.

    Raises:
        Diverged: no held-out loss is a number.
    """
    with track("student", len(course.train)) as advance, writing_to(folder.parent, pace.trackers):
        trainer = _trainer(model, loss, course, collator, pace, folder, maps)
        trainer.add_callback(Bar(advance, course.tokens))
        trainer.remove_callback(PrinterCallback)  # it would print the log on stdout
        start = _start(folder)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    summary = _summary(course, trainer.state)
    processes.gathered()  # all have loaded the best weights
    if processes.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def _trainer(
    model: BaseModel,
    loss: nn.Module,
    course: Course,
    collator: Any,
    pace: Pace,
    folder: Path,
    maps: Mapping[str, nn.Module],
) -> ScheduledTrainer:
    """The trainer of :func:`run`."""
    count = processes.count()
    # Of both sets the schedules name places in the whole.
    rows = Dataset.from_dict({COLUMN: [*range(course.items), BLANK]})
    return ScheduledTrainer(
        schedules=(
            dealing.dealt(course.train, count, course.items),
            dealing.repeated(course.check, count),
        ),
        partly=pace.lora is not None,
        maps=maps,
        model=model,
        args=_arguments(pace, len(course.train), folder, model.device.type),
        train_dataset=rows,
        eval_dataset=rows.select(range(course.items)),
        data_collator=collator,
        loss=loss,
        callbacks=[MarkComplete(), EarlyStoppingCallback(PATIENCE)],
    )


def _summary(course: Course, state: TrainerState) -> dict[str, Any]:
    """What training did; refuses one that came to nothing."""
    losses, done = losses_of(state.log_history), int(state.global_step)
    if not any("held_out" in row for row in losses):
        raise Diverged("training diverged: no loss is a number", where="--lr", mend="lower it")
    return {"tokens": sum(course.tokens[:done]), "steps": done, "losses": losses}


def _start(folder: Path) -> Path | None:
    """The checkpoint from which all processes go on: the first looks, and tells the others."""
    found = last_complete(folder) if processes.rank() == 0 else None
    name = processes.gathered(found.name if found else None)[0]
    return folder / name if name else None


def _arguments(pace: Pace, steps: int, folder: Path, device: str) -> BaseTrainingArguments:
    every = max(1, steps // CHECKS)
    return BaseTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        learning_rate=pace.lr,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(pace.warmup * steps)),
        weight_decay=pace.weight_decay,
        max_grad_norm=pace.clip,
        optim="adamw_torch_fused",
        use_cpu=device == "cpu",
        bf16=device == "cuda" and torch.cuda.is_bf16_supported(),
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_steps=every,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        seed=pace.seed,
        report_to=list(pace.trackers),
        run_name=folder.parent.name,
        disable_tqdm=True,
        dataloader_drop_last=processes.count() > 1,  # no word to the schedule, but else a warning
        dataloader_pin_memory=False,
        logging_nan_inf_filter=False,
    )


def losses_of(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as ``{"step", "train" or "held_out"}``, without what is no number."""
    names = {"loss": "train", "eval_loss": "held_out"}
    return [
        {"step": entry["step"], names[key]: entry[key]}
        for entry in history
        for key in names
        if math.isfinite(entry.get(key, math.nan))
    ]
