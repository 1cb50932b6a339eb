"""Fitting the student to the teacher's vectors, through sentence-transformers' trainer."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ragdistill.losses import cosine_regression, similarity_kl
from ragdistill.progress import Advance, track
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import Space
from ragdistill.training.checkpoints import MarkComplete, last_complete
from ragdistill.training.schedule import Schedule, evaluation_schedule, training_schedule
from ragdistill_embedder.encoder import Encoder, Rows
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.student import freeze_words, without_dropout
from ragdistill_embedder.texts import Role, TrainText

CHECKS = 10
"""How often in a run the held-out loss is taken and a checkpoint is written."""
PATIENCE = 3
"""Checks without improvement after which training stops."""
PROJECTION = "projection.safetensors"
_COLUMN = "text"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the student is fitted."""

    epochs: float
    max_tokens: int
    batch_tokens: int
    lr: float
    seed: int
    similarity_weight: float
    temperature: float = 0.05
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0


class EmbeddingLoss(nn.Module):
    """Regression onto the teacher's vector plus the distribution of similarities in the batch."""

    def __init__(
        self,
        model: SentenceTransformer,
        projection: nn.Linear | None,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.model = model
        self.projection = projection
        self.similarity_weight = recipe.similarity_weight
        self.temperature = recipe.temperature

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """``features``: one dictionary of ``[b, l]`` inputs; ``labels``: teacher ``[b, d_t]``."""
        student = self.model(features[0])["sentence_embedding"]
        matrix = None if self.projection is None else self.projection.weight
        losses = {"regression": cosine_regression(student, labels, matrix)}
        if self.similarity_weight:
            kl = similarity_kl(student, labels, self.temperature)
            losses["similarity"] = self.similarity_weight * kl
        return losses


class StoredVectors:
    """Texts as token ids, and where the store has the teacher's vector of each.

    As a collator it makes a batch: padded inputs and vectors, read from the mapped shards only
    when their batch comes.
    """

    # Read by sentence-transformers' trainer from every collator.
    valid_label_columns = ("label",)

    def __init__(
        self, texts: Sequence[TrainText], rows: Rows, encoder: Encoder, spaces: Mapping[Role, Space]
    ) -> None:
        self._roles: list[Role] = [item.role for item in texts]
        self._keys = [text_key(item.text) for item in texts]
        self._rows = rows
        self._encoder = encoder
        self._spaces = spaces

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """``{"text_input_ids": [b, l], ..., "label": [b, d_t]}`` of rows ``{"text": place}``."""
        places = [row[_COLUMN] for row in batch]
        features = self._encoder.features([self._rows[place] for place in places])
        made: dict[str, Any] = {f"{_COLUMN}_{key}": value for key, value in features.items()}
        made["label"] = self._vectors(places)
        return made

    def _vectors(self, places: Sequence[int]) -> Tensor:
        by_role: dict[Role, list[int]] = {}
        for slot, place in enumerate(places):
            by_role.setdefault(self._roles[place], []).append(slot)
        found: Tensor | None = None
        for role, slots in by_role.items():
            got = torch.from_numpy(self._spaces[role].get([self._keys[places[s]] for s in slots]))
            if found is None:
                found = torch.empty(len(places), got.shape[1])
            found[slots] = got
        assert found is not None  # a batch has at least one text
        return found


class ScheduledTrainer(SentenceTransformerTrainer):  # type: ignore[misc,unused-ignore]
    """sentence-transformers' trainer on a fixed schedule of batches."""

    def __init__(
        self,
        *,
        schedules: tuple[Schedule, Schedule],
        projection: nn.Linear | None,
        **kwargs: Any,
    ) -> None:
        self._schedules = schedules
        self._projection = projection
        super().__init__(**kwargs)

    def get_batch_sampler(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Schedule:
        """The schedule of the set that is asked for; sizes of batches are the schedule's own."""
        train, held_out = self._schedules
        return train if dataset is self.train_dataset else held_out

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is made from the report, and this one would ask the Hub."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights alone, as safetensors: no pickled arguments, no model card. The projection
        goes with them, or a resumed run would begin with another."""
        folder = Path(output_dir or str(self.args.output_dir))
        self.model.save_pretrained(str(folder), create_model_card=False)
        if self._projection is not None:
            save_projection(self._projection, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights and projection of a checkpoint: to resume, or because it was the best."""
        super()._load_from_checkpoint(resume_from_checkpoint)
        if self._projection is not None:
            load_model(self._projection, Path(resume_from_checkpoint) / PROJECTION)


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
    texts: Sequence[TrainText],
    held_out: Sequence[TrainText],
    setup: Setup,
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Train ``student`` in place; returns what happened (steps, tokens, losses by step).

    Goes on from the last whole checkpoint in ``folder``, bit for bit as if it had never stopped,
    and removes the checkpoints when it is done. The weights of the best held-out loss are kept.
    """
    set_seed(recipe.seed)
    without_dropout(student.model)
    freeze_words(student.model)
    everything = [*texts, *held_out]
    rows = _tokenise(student, everything, setup.by_role)
    lengths = [len(row) for row in rows]
    count = len(texts)
    train, check = _schedules(lengths, count, recipe)
    tokens = [sum(lengths[place] for place in batch) for batch in train]
    with track("student", len(train)) as advance:
        trainer = ScheduledTrainer(
            schedules=(train, check),
            projection=projection,
            model=student.model,
            args=_arguments(recipe, len(train), folder, student.model.device.type),
            train_dataset=Dataset.from_dict({_COLUMN: range(count)}),
            eval_dataset=Dataset.from_dict({_COLUMN: range(count, len(everything))}),
            data_collator=StoredVectors(everything, rows, student, setup.spaces),
            loss=EmbeddingLoss(student.model, projection, recipe),
            callbacks=[MarkComplete(), Bar(advance, tokens), EarlyStoppingCallback(PATIENCE)],
        )
        trainer.remove_callback(PrinterCallback)  # it would print the log on stdout
        start = last_complete(folder)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    done = int(trainer.state.global_step)
    summary = {
        "items": count,
        "tokens": sum(tokens[:done]),
        "steps": done,
        "held_out_items": len(held_out),
        "losses": _losses(trainer.state.log_history),
    }
    shutil.rmtree(folder, ignore_errors=True)
    return summary


def _schedules(lengths: Sequence[int], count: int, recipe: Recipe) -> tuple[Schedule, Schedule]:
    """Of the first ``count`` texts, which train, and of those after them, which are held out."""
    train = training_schedule(
        lengths[:count],
        epochs=recipe.epochs,
        max_tokens=recipe.max_tokens,
        batch_tokens=recipe.batch_tokens,
        seed=recipe.seed,
    )
    return train, evaluation_schedule(lengths[count:], 2 * recipe.batch_tokens)


def save_projection(projection: nn.Linear, folder: Path) -> None:
    """Write the map from the student's space into the teacher's, ``weight [d_t, d_s]``."""
    save_model(projection, str(folder / PROJECTION))


def _tokenise(student: Encoder, texts: Sequence[TrainText], prompts: Mapping[Role, str]) -> Rows:
    rows: Rows = [[] for _ in texts]
    for role in ("query", "passage"):
        places = [place for place, item in enumerate(texts) if item.role == role]
        made = student.tokenise([texts[place].text for place in places], prompts[role])
        for place, row in zip(places, made, strict=True):
            rows[place] = row
    return rows


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
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        logging_nan_inf_filter=False,
    )


def _losses(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as ``{"step", "train" or "held_out"}``."""
    names = {"loss": "train", "eval_loss": "held_out"}
    return [
        {"step": entry["step"], names[key]: entry[key]}
        for entry in history
        for key in names
        if key in entry
    ]
