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

    @property
    def network(self) -> Any:
        """The transformers model in it."""
        return self.encoder.model

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

    @property
    def network(self) -> Any:
        """The transformers model in it."""
        return self.encoder.model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``logits`` [batch, 1] of ``inputs`` int64 [batch, sequence] each, in the order of ``INPUTS``."""
        features: dict[str, Any] = dict(zip(INPUTS, inputs, strict=False))
        return (self.encoder(features)["scores"],)


class LabelsGraph(nn.Module):
    """A text to logits of each of its tokens."""

    outputs = ("logits",)

    def __init__(self, network: Any) -> None:
        """``network``: a transformers model for token classification. Its head is beside its encoder, for
        what is in the encoder may be rounded."""
        super().__init__()
        self.encoder: Any = network.base_model
        self.head: Any = network.classifier
        self._network = [network]  # in a list it is no module of this one

    @property
    def network(self) -> Any:
        """The transformers model that it is made of."""
        return self._network[0]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``logits`` [batch, sequence, labels] of ``inputs`` int64 [batch, sequence] each, in the order of
        ``INPUTS``."""
        features: dict[str, Any] = dict(zip(INPUTS, inputs, strict=False))
        return (self.head(self.encoder(**features).last_hidden_state),)
