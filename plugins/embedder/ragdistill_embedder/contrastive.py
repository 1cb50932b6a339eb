"""Objectives that look at other texts than those of the batch: hard negatives and candidates that
the teacher's own vectors name. Only the teacher's vectors of them are needed, which the store has."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from ragdistill.batching import token_budget_batches
from ragdistill.data.training_texts import TrainText
from ragdistill.losses import cosine_regression, info_nce, listwise_kl, margin_mse, over_prefixes
from ragdistill.metrics.retrieval import Vectors
from ragdistill.training.axes import Axes
from ragdistill.training.gradcache import cached_loss
from ragdistill_embedder.lesson import Recipe
from ragdistill_embedder.mining import NONE, Places, hard_negatives

Objective = Literal["contrastive", "listwise", "margin-mse"]
CANDIDATES = "candidates"
"""The batch's key of the teacher's vectors of mined texts."""


class MinedLoss(nn.Module):
    """Cosine regression, and an objective over the teacher's vectors of mined texts; of a batch of
    any size no more than ``recipe.chunk_tokens`` tokens' activations are held (GradCache)."""

    def __init__(
        self,
        model: SentenceTransformer,
        projection: nn.Linear | None,
        recipe: Recipe,
        axes: Axes | None = None,
    ) -> None:
        super().__init__()
        self.model, self.projection, self.recipe = model, projection, recipe
        self.axes = None if axes is None else torch.from_numpy(axes.matrix).to(model.device)
        self.dims = axes.dims if axes else ()

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """``features``: one dictionary of ``[b, l]`` inputs and ``candidates`` ``[b, n, d_t]``;
        ``labels``: teacher ``[b, d_t]``."""
        inputs = dict(features[0])
        candidates = inputs.pop(CANDIDATES)
        chunks = self._chunks(inputs)
        order = torch.cat(chunks)
        found = cached_loss(
            partial(self._embed, inputs),
            chunks,
            partial(self._loss, teacher=labels[order], candidates=candidates[order]),
            () if self.projection is None else (self.projection.weight,),
        )
        return {str(self.recipe.objective): found}

    def _chunks(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Places in the batch, in parts of like length."""
        if "attention_mask" not in inputs:  # a static model keeps next to nothing
            return [torch.arange(len(inputs["offsets"]), device=inputs["offsets"].device)]
        mask = inputs["attention_mask"]
        parts = token_budget_batches(mask.sum(dim=1).tolist(), self.recipe.chunk_tokens)
        return [torch.tensor(part, device=mask.device) for part in parts]

    def _embed(self, inputs: dict[str, Tensor], places: Tensor) -> Tensor:
        if "attention_mask" not in inputs:
            part = dict(inputs)
        else:
            used = inputs["attention_mask"][places].any(dim=0)  # on whichever side it is padded
            part = {key: value[places][:, used] for key, value in inputs.items()}
        vectors: Tensor = self.model(part)["sentence_embedding"]
        return vectors

    def _loss(self, student: Tensor, *, teacher: Tensor, candidates: Tensor) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            whole = torch.cat([teacher.unsqueeze(1), candidates], dim=1)
            both = whole if self.axes is None else whole @ self.axes
            if self.projection is not None:
                student = functional.linear(student, self.projection.weight)
        unit = functional.normalize(whole, dim=-1)
        # What a prefix is to say of the candidates is what the whole vectors say of them.
        scores = torch.einsum("bd,bnd->bn", unit[:, 0], unit)
        dims = self.dims or (both.shape[2],)
        regression = over_prefixes(cosine_regression, student, both[:, 0], dims)
        weight = self.recipe.objective_weight
        parts = [self._objective(student[:, :m], both[:, :, :m], scores) for m in dims]
        return regression + weight * torch.stack(parts).mean()

    def _objective(self, student: Tensor, teacher: Tensor, scores: Tensor) -> Tensor:
        """Of ``student`` ``[b, d]``; ``teacher`` ``[b, 1 + n, d]``: of the text itself, then of the
        candidates; ``scores`` ``[b, 1 + n]``: its cosines to them."""
        recipe = self.recipe
        if recipe.objective == "contrastive":
            return info_nce(student, teacher[:, 0], teacher[:, 1:], temperature=recipe.temperature)
        unit = functional.normalize(teacher, dim=-1)
        mine = torch.einsum("bd,bnd->bn", functional.normalize(student, dim=-1), unit)
        there = teacher.square().sum(dim=-1) > 0
        if recipe.objective == "listwise":
            # The scale that the temperature gives is the teacher's own: T² would undo it.
            scale = recipe.temperature
            return listwise_kl(mine / scale, scores / scale, usable=there)
        return margin_mse(mine, scores, there[:, 1:])


def mine(texts: Sequence[TrainText], vectors: Vectors, count: int) -> Places:
    """For each text the places of up to ``count`` passages (of any texts, if there are none) that
    the teacher holds for near and not for the same, ``[n, count]``.

    Args:
        vectors: the teacher's unit vectors of ``texts``, ``[n, d]``.
    """
    pool = [place for place, item in enumerate(texts) if item.role == "passage"]
    pool = pool or list(range(len(texts)))
    inside = {place: slot for slot, place in enumerate(pool)}
    own = [inside.get(place, NONE) for place in range(len(texts))]
    found = hard_negatives(vectors, vectors[pool], own=own, count=count)
    places: Places = np.where(found == NONE, NONE, np.asarray(pool)[found])
    return places


def stacked(found: Sequence[Any], places: Places, dimensions: int) -> Tensor:
    """The teacher's vectors of mined texts as ``[b, n, d]``, zeros where there is none.

    Args:
        found: vectors of those places that are not :data:`NONE`, row by row.
        places: ``[b, n]``.
    """
    made = np.zeros((*places.shape, dimensions), dtype=np.float32)
    if len(found):
        made[places != NONE] = np.stack(found)
    return torch.from_numpy(made)
