"""Fitting the student to the teacher's vectors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_model
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import set_seed

from ragdistill.data.training_texts import Role, TrainText
from ragdistill.encoder import Encoder, Rows
from ragdistill.signals.codecs import Values
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import Space
from ragdistill.training import encoders, lora
from ragdistill.training.axes import Axes
from ragdistill.training.fitting import BLANK, COLUMN, Course
from ragdistill.training.preparing import freeze_words, transformer_of, without_dropout
from ragdistill_embedder.contrastive import CANDIDATES, MinedLoss, stacked
from ragdistill_embedder.lesson import Lesson, Recipe
from ragdistill_embedder.mining import NONE, Places
from ragdistill_embedder.objective import WINDOWS, EmbeddingLoss
from ragdistill_embedder.panel import Readable

PROJECTION = "projection.safetensors"
STATE_HEAD = "state_head.safetensors"
"""In checkpoints alone: no student needs it once it is trained."""


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
        places = [row[COLUMN] for row in batch]
        if places == [BLANK]:
            stand_in = self([{COLUMN: 0}])
            empty = {f"{COLUMN}_{WINDOWS}", "label"} & stand_in.keys()
            return stand_in | {key: stand_in[key][:0] for key in empty}
        features = self._encoder.features([self._rows[place] for place in places])
        made: dict[str, Any] = {f"{COLUMN}_{key}": value for key, value in features.items()}
        made["label"] = torch.from_numpy(np.stack(self._stored(self._vectors, places)))
        if self._windows is not None:
            states = [torch.from_numpy(item) for item in self._stored(self._windows, places)]
            made[f"{COLUMN}_{WINDOWS}"] = pad_sequence(states, batch_first=True)
        if self._mined is not None:
            others = self._mined[places]
            vectors = self._stored(self._vectors, others[others != NONE].tolist())
            made[f"{COLUMN}_{CANDIDATES}"] = stacked(vectors, others, made["label"].shape[1])
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
    (steps, tokens, losses by step). See :func:`ragdistill.training.encoders.run`."""
    set_seed(recipe.seed)
    without_dropout(student.model)
    freeze_words(student.model)
    merge = _adapt(student, recipe)
    tokens = [collator.tokens(batch) for batch in lesson.train]
    maps = {PROJECTION: projection, STATE_HEAD: state_head}
    found = encoders.run(
        student.model,
        _loss(student, projection, recipe, axes, state_head),
        Course(len(lesson.texts), lesson.train, lesson.check, tokens),
        collator,
        recipe,
        folder,
        {name: layer for name, layer in maps.items() if layer is not None},
    )
    if merge is not None:
        merge()
    return found | {"items": lesson.count, "held_out_items": len(lesson.texts) - lesson.count}


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


def _adapt(student: Encoder, recipe: Recipe) -> Callable[[], None] | None:
    """Let only low-rank updates of the transformer be trained, if the recipe says so; returns what
    merges them."""
    if recipe.lora is None:
        return None
    return lora.adapt(transformer_of(student.model).auto_model, recipe.lora, recipe.seed)


def save_projection(projection: nn.Linear, folder: Path) -> None:
    """Write the map from the student's space into the teacher's, ``weight [d_t, d_s]``."""
    save_model(projection, str(folder / PROJECTION))
