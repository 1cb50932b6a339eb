"""What the student is taught by: the losses of one batch, summed."""

from collections.abc import Sequence
from functools import partial

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragdistill import processes
from ragdistill.losses import (
    cosine_regression,
    over_prefixes,
    similarity_kl,
    state_regression,
    window_means,
)
from ragdistill.training import dealing
from ragdistill.training.axes import Axes
from ragdistill_embedder.lesson import Recipe

WINDOW_TOKENS = 8
"""Tokens whose states are kept as one mean. Their mean teaches as well as they do one by one, in an
eighth of the space (benchmarks/LOG.md)."""
WINDOWS = "windows"
"""The batch's key of the teacher's token states."""


class EmbeddingLoss(nn.Module):
    """Regression onto the teacher's vector, plus the distribution of similarities in the batch, plus
    regression onto the teacher's token states where the batch has them: those of a narrower student
    through ``state_head``, ``[h_t, h_s]``."""

    def __init__(
        self,
        model: SentenceTransformer,
        projection: nn.Linear | None,
        recipe: Recipe,
        axes: Axes | None = None,
        state_head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.axes = None if axes is None else torch.from_numpy(axes.matrix).to(model.device)
        self.dims = axes.dims if axes else ()
        self.projection = projection
        self.state_head = state_head
        self.recipe = recipe

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """``features``: one dictionary of ``[b, l]`` inputs, and ``windows`` ``[b, w, h]`` where the
        teacher's token states are followed; ``labels``: teacher ``[b, d_t]``.

        In training by several processes the features are a share of the batch, and the loss is that
        of the whole one. ``labels`` without rows tell that the features are a stand-in.
        """
        inputs, recipe = dict(features[0]), self.recipe
        states = inputs.pop(WINDOWS, None)
        said = self.model(dict(inputs))
        shared = processes.count() > 1 and torch.is_grad_enabled()
        whole = dealing.gathered if shared else _as_is
        student, labels = whole(said["sentence_embedding"][: len(labels)]), whole(labels)
        losses = {"regression": self._regression(student, labels)}
        if recipe.similarity_weight:
            kl = partial(similarity_kl, temperature=recipe.temperature)
            dims = self.dims or (student.shape[1],)
            found = over_prefixes(kl, student, labels, dims, cut_teacher=False)
            losses["similarity"] = recipe.similarity_weight * found
        if states is not None:
            means, counts = window_means(
                said["token_embeddings"], inputs["attention_mask"], WINDOW_TOKENS
            )
            told = whole(means[: len(states)]), whole(states), whole(counts[: len(states)])
            if self.state_head is not None:
                told = self.state_head(told[0]), *told[1:]
            losses["states"] = recipe.state_weight * state_regression(*told)
        return losses

    def _regression(self, student: Tensor, labels: Tensor) -> Tensor:
        if self.axes is not None:
            with torch.autocast(labels.device.type, enabled=False):
                targets = labels @ self.axes
            return over_prefixes(cosine_regression, student, targets, self.dims)
        matrix = None if self.projection is None else self.projection.weight
        return cosine_regression(student, labels, matrix)


def _as_is(tensor: Tensor) -> Tensor:
    return tensor
