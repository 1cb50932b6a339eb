"""Losses over a large batch in the memory of a small one.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
arXiv:2101.06983. The batch is embedded in chunks without keeping what a backward pass needs; the
loss of all vectors gives a gradient for each vector; each chunk is embedded again and takes its
part of that gradient. The gradients are those of the whole batch at once, up to rounding.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Chunk = TypeVar("Chunk")


def cached_loss(
    embed: Callable[[Chunk], Tensor],
    chunks: Sequence[Chunk],
    loss: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """``loss`` of the vectors of all ``chunks``, whose ``backward`` needs the memory of one chunk.

    Args:
        embed: chunk to vectors ``[c, d]``; must give the same each time (no dropout), and is called
            twice for each chunk.
        chunks: the parts of a batch.
        loss: of the vectors ``[b, d]``, in the order of the chunks, to a scalar.
        parameters: those on which ``loss`` itself depends, a projection, say.

    Returns:
        Scalar. Where gradients are off, just the loss.
    """
    with torch.no_grad():
        vectors = torch.cat([embed(chunk) for chunk in chunks])
    if not torch.is_grad_enabled():
        return loss(vectors)
    leaf = vectors.requires_grad_()
    total = loss(leaf)
    gradient, *others = torch.autograd.grad(total, [leaf, *parameters], allow_unused=True)

    def replay(upstream: Tensor) -> None:
        for parameter, own in zip(parameters, others, strict=True):
            if own is not None:
                scaled = own * upstream
                parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
        start = 0
        with torch.enable_grad():
            for chunk in chunks:
                again = embed(chunk)
                part = gradient[start : start + len(again)]
                (again * part * upstream).sum().backward()  # type: ignore[no-untyped-call]
                start += len(again)

    found = total.detach().requires_grad_()
    found.register_hook(replay)  # type: ignore[no-untyped-call]
    return found
