"""What a term selector is fitted by: who added a word, and what the word does to the search."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ragdistill_query_rewriter.terms import margins


@dataclass(frozen=True, slots=True)
class Objective:
    """The parts of the loss."""

    labels: float = 1.0
    """Weight of the words that the teacher added, as binary cross-entropy."""
    effect: float = 1.0
    """Weight of what the words do to the search, as the cross-entropy of the relevant documents."""
    rarity: float = 3.0
    """What an added word counts for against one that was not: there are some eight of these for each."""
    skip: float = 0.0
    """Weight of whether the turn finds its documents by itself, which the first token says, as binary
    cross-entropy."""
    temperature: float = 1.0
    """BM25 scores are divided by it: a softmax over them is then sure of the first, or less so."""


def of_words(tokens: Tensor, word_of: Tensor, words: int) -> Tensor:
    """The greatest of ``tokens`` ``[b, l]`` at which each word begins, ``[b, words]``; ``word_of`` is
    ``words`` where none begins. Padded words are as unlikely as can be."""
    least = torch.full((len(tokens), words + 1), -1e4, dtype=tokens.dtype, device=tokens.device)
    return least.scatter_reduce(1, word_of, tokens, "amax")[:, :words]


def label_loss(words: Tensor, added: Tensor, rarity: float) -> Tensor:
    """Per turn ``[b]`` the mean over its words of the binary cross-entropy, of logits ``words``
    ``[b, w]``; ``added`` is 1, 0, or below 0 where nobody knows."""
    known = added >= 0
    each = functional.binary_cross_entropy_with_logits(
        words, added.clamp(min=0), reduction="none", pos_weight=words.new_tensor(rarity)
    )
    return (each * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def effect_loss(
    words: Tensor, base: Tensor, gains: Tensor, relevant: Tensor, temperature: float
) -> Tensor:
    """Per turn ``[b]`` the cross-entropy of the relevant documents among those compared.

    A document's score is what the turn's words give it, ``base`` ``[b, c]``, and what each word of the
    conversation adds, ``gains`` ``[b, w, c]``, times the chance that it is added. 0 where no document
    is ``relevant`` ``[b, c]``.
    """
    scores = (base + torch.einsum("bw,bwc->bc", words.sigmoid(), gains)) / temperature
    logs = scores.log_softmax(dim=1)
    found = logs.masked_fill(~relevant, -torch.inf)
    any_known = relevant.any(dim=1)
    return torch.where(any_known, -found.where(any_known[:, None], logs).logsumexp(dim=1), 0.0)


def skip_loss(first: Tensor, lacking: Tensor) -> Tensor:
    """Per turn ``[b]`` the binary cross-entropy, of logits ``first`` ``[b]``; ``lacking`` is 1, 0, or below 0
    where nobody knows."""
    each = functional.binary_cross_entropy_with_logits(
        first, lacking.clamp(min=0), reduction="none"
    )
    return each * (lacking >= 0)


class TermLoss(nn.Module):
    """As ``ragdistill.training.language`` calls it: sums over turns."""

    def __init__(self, network: Any, objective: Objective) -> None:
        super().__init__()
        self.network, self._objective = network, objective

    def forward(
        self,
        word_of: Tensor,
        added: Tensor,
        base: Tensor,
        gains: Tensor,
        relevant: Tensor,
        lacking: Tensor,
        normaliser: Tensor | float,
        labels: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Scalar; the rest is that of ``lesson.Batches``."""
        told = self._objective
        tokens = margins(self.network(**inputs).logits).float()
        said = of_words(tokens, word_of, added.shape[1])
        loss = told.labels * label_loss(said, added, told.rarity)
        if told.effect:
            loss = loss + told.effect * effect_loss(said, base, gains, relevant, told.temperature)
        if told.skip:
            loss = loss + told.skip * skip_loss(tokens[:, 0], lacking)
        if labels is None:
            loss = 0 * loss
        return loss.sum() / normaliser
