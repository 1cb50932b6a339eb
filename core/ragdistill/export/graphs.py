"""The modules of sentence-transformers' models with plain tensors in and out, as an exporter takes
them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a graph takes, int64 [batch, sequence] each; the last only where the tokenizer makes it."""


class VectorsGraph(nn.Module):
    """Text to vectors: one of each text, or one of each token."""

    def __init__(self, modules: Sequence[nn.Module], answer: str) -> None:
        """``modules`` are the model's, ``answer`` is the feature that they make in the end:
        ``sentence_embedding`` or ``token_embeddings``."""
        super().__init__()
        self.encoder: Any = modules[0]
        self.heads = nn.ModuleList(modules[1:])
        self.outputs = ("last_hidden_state", answer)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Token states and vectors.

        Args:
            inputs: int64 [batch, sequence] each, in the order of ``INPUTS``.

        Returns:
            ``last_hidden_state`` [batch, sequence, hidden], and ``sentence_embedding`` [batch, d] or
            ``token_embeddings`` [batch, sequence, d].
        """
        features: dict[str, Any] = dict(zip(INPUTS, inputs, strict=False))
        features = self.encoder(features)
        hidden = features["token_embeddings"]
        for head in self.heads:
            features = head(features)
        return hidden, features[self.outputs[-1]]


class ScoresGraph(nn.Module):
    """A pair of texts to its score."""

    outputs = ("logits",)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = encoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``logits`` [batch, 1] of ``inputs`` int64 [batch, sequence] each, in the order of ``INPUTS``."""
        features: dict[str, Any] = dict(zip(INPUTS, inputs, strict=False))
        return (self.encoder(features)["scores"],)
