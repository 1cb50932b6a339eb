"""Fitting the student to the teacher's vectors, through sentence-transformers' trainer."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ragdistill import processes
from ragdistill.data.training_texts import Role, TrainText
from ragdistill.encoder import Encoder, Rows
from ragdistill.errors import Diverged
from ragdistill.progress import Advance, track
from ragdistill.signals.codecs import Values
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import Space
from ragdistill.training import dealing, lora
from ragdistill.training.axes import Axes
from ragdistill.training.checkpoints import MarkComplete, last_complete
from ragdistill.training.schedule import Schedule
from ragdistill.training.trackers import writing_to
from ragdistill_embedder.contrastive import CANDIDATES, MinedLoss, stacked
from ragdistill_embedder.lesson import Lesson, Recipe
from ragdistill_embedder.mining import NONE, Places
from ragdistill_embedder.objective import WINDOWS, EmbeddingLoss
from ragdistill_embedder.panel import Readable
from ragdistill_embedder.student import freeze_words, transformer_of, without_dropout

CHECKS = 10
"""How often in a run the held-out loss is taken and a checkpoint is written."""
PATIENCE = 3
"""Checks without improvement after which training stops."""
PROJECTION = "projection.safetensors"
BLANK = -1
"""In place of a text, for a process that has no share in a batch."""
STATE_HEAD = "state_head.safetensors"
"""In checkpoints alone: no student needs it once it is trained."""
_COLUMN = "text"


class StoredSignals:
    """Texts as token ids, and where the store has what the teacher said of each.

    As a collator it makes a batch: padded inputs, vectors and token states, read from the mapped
    shards only when their batch comes.
    """

    # Read by sentence-transformers' trainer from every collator.
    valid_label_columns = ("label",)

    def __init__(
        self,
        texts: Sequence[TrainText],
        rows: Rows,
        encoder: Encoder,
        vectors: Mapping[Role, Readable],
        windows: Mapping[Role, Space] | None,
        mined: Places | None = None,
    ) -> None:
        self._mined = mined
        self._roles: list[Role] = [item.role for item in texts]
        self._keys = [text_key(item.text) for item in texts]
        self._rows = rows
        self._encoder = encoder
        self._vectors = vectors
        self._windows = windows

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """``{"text_input_ids": [b, l], ..., "label": [b, d_t]}`` of rows ``{"text": place}``.

        Of a blank row the features are a text's, for a model must read something, and the label has
        no rows.
        """
        places = [row[_COLUMN] for row in batch]
        if places == [BLANK]:
            stand_in = self([{_COLUMN: 0}])
            empty = {f"{_COLUMN}_{WINDOWS}", "label"} & stand_in.keys()
            return stand_in | {key: stand_in[key][:0] for key in empty}
        features = self._encoder.features([self._rows[place] for place in places])
        made: dict[str, Any] = {f"{_COLUMN}_{key}": value for key, value in features.items()}
        made["label"] = torch.from_numpy(np.stack(self._stored(self._vectors, places)))
        if self._windows is not None:
            states = [torch.from_numpy(item) for item in self._stored(self._windows, places)]
            made[f"{_COLUMN}_{WINDOWS}"] = pad_sequence(states, batch_first=True)
        if self._mined is not None:
            others = self._mined[places]
            vectors = self._stored(self._vectors, others[others != NONE].tolist())
            made[f"{_COLUMN}_{CANDIDATES}"] = stacked(vectors, others, made["label"].shape[1])
        return made

    def tokens(self, places: Sequence[int]) -> int:
        """Tokens of a batch, padding not counted."""
        return sum(len(self._rows[place]) for place in places)

    def _stored(self, kept: Mapping[Role, Readable], places: Sequence[int]) -> list[Values]:
        """What is kept of each place, as texts of its role."""
        by_role: dict[Role, list[int]] = {}
        for slot, place in enumerate(places):
            by_role.setdefault(self._roles[place], []).append(slot)
        found: dict[int, Values] = {}
        for role, slots in by_role.items():
            got = kept[role].get([self._keys[places[slot]] for slot in slots])
            found.update(zip(slots, got, strict=True))
        return [found[slot] for slot in range(len(places))]


class ScheduledTrainer(SentenceTransformerTrainer):  # type: ignore[misc,unused-ignore]
    """sentence-transformers' trainer on a fixed schedule of batches."""

    def __init__(
        self,
        *,
        schedules: tuple[Schedule, Schedule],
        maps: Mapping[str, nn.Linear | None],
        partly: bool,
        **kwargs: Any,
    ) -> None:
        self._schedules = schedules
        self._partly = partly
        self._maps = {name: layer for name, layer in maps.items() if layer is not None}
        super().__init__(**kwargs)

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


def fit(
    student: Encoder,
    projection: nn.Linear | None,
    lesson: Lesson,
    collator: StoredSignals,
    recipe: Recipe,
    folder: Path,
    axes: Axes | None = None,
    state_head: nn.Linear | None = None,
) -> dict[str, Any]:
    """Train ``student`` in place, on ``axes`` where its prefixes are to serve; returns what happened
    (steps, tokens, losses by step).

    Goes on from the last whole checkpoint in ``folder``, bit for bit as if it had never stopped,
    and removes the checkpoints when it is done. The weights of the best held-out loss are kept.

    Raises:
        Diverged: no held-out loss is a number.
    """
    set_seed(recipe.seed)
    without_dropout(student.model)
    freeze_words(student.model)
    merge = _adapt(student, recipe)
    steps, items, count = len(lesson.train), len(lesson.texts), processes.count()
    # Of both sets the schedules name places in the whole.
    rows = Dataset.from_dict({_COLUMN: [*range(items), BLANK]})
    tokens = [collator.tokens(batch) for batch in lesson.train]
    with track("student", steps) as advance, writing_to(folder.parent, recipe.trackers):
        trainer = ScheduledTrainer(
            schedules=(
                dealing.dealt(lesson.train, count, items),
                dealing.repeated(lesson.check, count),
            ),
            partly=recipe.lora is not None,
            maps={PROJECTION: projection, STATE_HEAD: state_head},
            model=student.model,
            args=_arguments(recipe, steps, folder, student.model.device.type),
            train_dataset=rows,
            eval_dataset=rows.select(range(items)),
            data_collator=collator,
            loss=_loss(student, projection, recipe, axes, state_head),
            callbacks=[MarkComplete(), Bar(advance, tokens), EarlyStoppingCallback(PATIENCE)],
        )
        trainer.remove_callback(PrinterCallback)  # it would print the log on stdout
        start = _start(folder)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if merge is not None:
        merge()
    summary = _summary(lesson, tokens, trainer.state)
    processes.gathered()  # all have loaded the best weights
    if processes.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def _loss(
    student: Encoder,
    projection: nn.Linear | None,
    recipe: Recipe,
    axes: Axes | None,
    state_head: nn.Linear | None,
) -> nn.Module:
    if recipe.objective:
        return MinedLoss(student.model, projection, recipe, axes)
    return EmbeddingLoss(student.model, projection, recipe, axes, state_head)


def _summary(lesson: Lesson, tokens: Sequence[int], state: TrainerState) -> dict[str, Any]:
    """What training did; refuses one that came to nothing."""
    losses, done = _losses(state.log_history), int(state.global_step)
    if not any("held_out" in row for row in losses):
        raise Diverged("training diverged: no loss is a number", where="--lr", mend="lower it")
    return {
        "items": lesson.count,
        "tokens": sum(tokens[:done]),
        "steps": done,
        "held_out_items": len(lesson.texts) - lesson.count,
        "losses": losses,
    }


def _start(folder: Path) -> Path | None:
    """The checkpoint from which all processes go on: the first looks, and tells the others."""
    found = last_complete(folder) if processes.rank() == 0 else None
    name = processes.gathered(found.name if found else None)[0]
    return folder / name if name else None


def _adapt(student: Encoder, recipe: Recipe) -> Callable[[], None] | None:
    """Let only low-rank updates of the transformer be trained, if the recipe says so; returns what
    merges them."""
    if recipe.lora is None:
        return None
    return lora.adapt(transformer_of(student.model).auto_model, recipe.lora, recipe.seed)


def save_projection(projection: nn.Linear, folder: Path) -> None:
    """Write the map from the student's space into the teacher's, ``weight [d_t, d_s]``."""
    save_model(projection, str(folder / PROJECTION))


def _arguments(
    recipe: Recipe, steps: int, folder: Path, device: str
) -> SentenceTransformerTrainingArguments:
    every = max(1, steps // CHECKS)
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(recipe.warmup * steps)),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
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
        seed=recipe.seed,
        report_to=list(recipe.trackers),
        run_name=folder.parent.name,
        disable_tqdm=True,
        dataloader_drop_last=processes.count() > 1,  # no word to the schedule, but else a warning
        dataloader_pin_memory=False,
        logging_nan_inf_filter=False,
    )


def _losses(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as ``{"step", "train" or "held_out"}``, without what is no number."""
    names = {"loss": "train", "eval_loss": "held_out"}
    return [
        {"step": entry["step"], names[key]: entry[key]}
        for entry in history
        for key in names
        if math.isfinite(entry.get(key, math.nan))
    ]
