"""The one training loop, over transformers' trainer: any student and any loss.

What is learnt in which step is settled before (a :class:`Course`), so that a killed run goes on bit for
bit as if it had never stopped, and several processes take the step that one would take. Here is what
models of all libraries share; ``encoders`` and ``language`` add what differs.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ragdistill import processes
from ragdistill.errors import Diverged
from ragdistill.progress import Advance, track
from ragdistill.training import dealing
from ragdistill.training.checkpoints import (
    MarkComplete,
    last_complete,
    load_trainable,
    save_trainable,
)
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
LOSSES = {"loss": "train", "eval_loss": "held_out"}
"""What the trainer logs losses under, and what they are called here."""
PART = "part_"
"""What the name of a part of a loss begins with in the trainer's log."""
_WHOLE = "model.safetensors"


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
    accumulate: int = 1
    """Batches of the schedule that make one step."""


@dataclass(frozen=True)
class Course:
    """Which items are learnt from in which batch, and which the held-out loss is of."""

    items: int
    """Places that ``train`` and ``check`` may name."""
    train: Schedule
    check: Schedule
    tokens: Sequence[int]
    """Of each batch of ``train``, padding not counted."""

    def by_step(self, accumulate: int) -> list[int]:
        """Tokens of each step that so many batches make."""
        starts = range(0, len(self.train), accumulate)
        return [sum(self.tokens[start : start + accumulate]) for start in starts]


class Scheduled(Trainer):  # type: ignore[misc,unused-ignore]
    """transformers' trainer on a fixed schedule of batches.

    Args:
        student: what a checkpoint keeps the weights of: those that are trained, where only low-rank
            updates are.
        collator: makes the features of rows ``{COLUMN: place}``.
        maps: what is trained besides, by the file that a checkpoint keeps it in.
    """

    arguments: ClassVar[type[TrainingArguments]] = TrainingArguments
    options: ClassVar[Mapping[str, Any]] = {}
    """Arguments that models of one library need."""

    def __init__(
        self,
        *,
        student: nn.Module,
        course: Course,
        collator: Any,
        pace: Pace,
        folder: Path,
        maps: Mapping[str, nn.Module],
        **kwargs: Any,
    ) -> None:
        self._student, self._maps = student, maps
        self._partly = pace.lora is not None
        count = processes.count()
        # Of both sets the schedules name places in the whole.
        self._schedules = (
            dealing.dealt(course.train, count, course.items),
            dealing.repeated(course.check, count),
        )
        rows = Dataset.from_dict({COLUMN: [*range(course.items), BLANK]})
        device = next(student.parameters()).device.type
        steps = len(course.by_step(pace.accumulate))
        super().__init__(
            args=self.arguments(**_settings(pace, steps, folder, device), **self.options),
            train_dataset=rows,
            eval_dataset=rows.select(range(course.items)),
            data_collator=collator,
            callbacks=[MarkComplete(), Patience()],
            **kwargs,
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights alone, as safetensors: no pickled arguments, no model card. The maps go with
        them, or a resumed run would begin with others."""
        folder = Path(output_dir or str(self.args.output_dir))
        if self._partly:
            save_trainable(self._student, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self._student, str(folder / _WHOLE))
        for name, layer in self._maps.items():
            save_model(layer, str(folder / name))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights and maps of a checkpoint: to resume, or because it was the best."""
        if self._partly:
            load_trainable(self._student, Path(resume_from_checkpoint))
        else:
            load_model(self._student, Path(resume_from_checkpoint) / _WHOLE)
        for name, layer in self._maps.items():
            load_model(layer, Path(resume_from_checkpoint) / name)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


class Patience(EarlyStoppingCallback):  # type: ignore[misc,unused-ignore]
    """Stops after :data:`PATIENCE` checks without improvement. A run that goes on from a checkpoint has the
    patience that was left: what was checked before is in its log."""

    def __init__(self) -> None:
        super().__init__(PATIENCE)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See above."""
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        best, waited = math.inf, -1  # the first check is never one too many
        for loss in (row["eval_loss"] for row in state.log_history if "eval_loss" in row):
            waited = 0 if loss < best else waited + 1
            best = min(best, loss)  # which NaN leaves as it is
        self.early_stopping_patience_counter = max(waited, 0)
        control.should_training_stop = waited >= PATIENCE


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
    kind: Callable[..., Scheduled], course: Course, pace: Pace, folder: Path, **parts: Any
) -> dict[str, Any]:
    """Train in place; returns what happened (steps, tokens, losses by step).

    Goes on from the last whole checkpoint in ``folder`` and removes the checkpoints when it is done.
    The weights of the best held-out loss are kept.

    Args:
        kind: the trainer's class, or what makes one.
        parts: what it takes besides.

    Raises:
        Diverged: no held-out loss is a number.
    """
    tokens = course.by_step(pace.accumulate)
    with track("student", len(tokens)) as advance, writing_to(folder.parent, pace.trackers):
        trainer = kind(course=course, pace=pace, folder=folder, **parts)
        trainer.add_callback(Bar(advance, tokens))
        trainer.remove_callback(PrinterCallback)  # it would print the log on stdout
        start = _start(folder)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    summary = _summary(tokens, trainer.state)
    processes.gathered()  # all have loaded the best weights
    if processes.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def _summary(tokens: Sequence[int], state: TrainerState) -> dict[str, Any]:
    """What training did; refuses one that came to nothing."""
    losses, done = losses_of(state.log_history), int(state.global_step)
    if not any("held_out" in row for row in losses):
        raise Diverged("training diverged: no loss is a number", where="--lr", mend="lower it")
    return {"tokens": sum(tokens[:done]), "steps": done, "losses": losses}


def _start(folder: Path) -> Path | None:
    """The checkpoint from which all processes go on: the first looks, and tells the others."""
    found = last_complete(folder) if processes.rank() == 0 else None
    name = processes.gathered(found.name if found else None)[0]
    return folder / name if name else None


def _settings(pace: Pace, steps: int, folder: Path, device: str) -> dict[str, Any]:
    """Arguments of any trainer."""
    every = max(1, steps // CHECKS)
    return {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "gradient_accumulation_steps": pace.accumulate,
        "learning_rate": pace.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, round(pace.warmup * steps)),
        "weight_decay": pace.weight_decay,
        "max_grad_norm": pace.clip,
        "optim": "adamw_torch_fused",
        "use_cpu": device == "cpu",
        "bf16": device == "cuda" and torch.cuda.is_bf16_supported(),
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "logging_steps": every,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "seed": pace.seed,
        "report_to": list(pace.trackers),
        "run_name": folder.parent.name,
        "disable_tqdm": True,
        "dataloader_drop_last": processes.count()
        > 1,  # no word to the schedule, but else a warning
        "dataloader_pin_memory": False,
        "logging_nan_inf_filter": False,
    }


def losses_of(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as ``{"step", "train" or "held_out"}`` and the loss's parts by name, without what
    is no number."""
    return [
        {"step": entry["step"], LOSSES[key]: entry[key]} | _parts(entry)
        for entry in history
        for key in LOSSES
        if math.isfinite(entry.get(key, math.nan))
    ]


def _parts(entry: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.removeprefix(PART): value
        for key, value in entry.items()
        if key.startswith(PART) and math.isfinite(value)
    }
