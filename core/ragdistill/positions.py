"""How many tokens a network reads, from the weights of its positions."""

from collections.abc import Iterator

from torch import nn


def readable_tokens(network: nn.Module) -> int | None:
    """Tokens of the longest text that ``network`` has positions for: learnt ones, or else as many as
    its configuration names. None where it names none.

    RoBERTa's family counts positions from the one after its padding, and so reads fewer tokens
    than ``max_position_embeddings`` says: 512 of 514.
    """
    lengths = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in _tables(network)
    ]
    named = getattr(getattr(network, "config", None), "max_position_embeddings", None)
    return min(lengths, default=named)


def _tables(network: nn.Module) -> Iterator[nn.Embedding]:
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            yield module
