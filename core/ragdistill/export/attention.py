"""Attention as one ONNX Runtime operator, put into a transformers model for the time of an export.

transformers lets a model's attention be replaced by name (``AttentionInterface``). The replacement
here emits ``com.microsoft.MultiHeadAttention``, so that no pattern has to be found in the exported
graph afterwards: that search depends on the architecture and on the exporter's version.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, eager_mask

FUSED = "ragdistill_onnx"
"""The name under which transformers knows this attention."""


def register() -> None:
    """Make ``FUSED`` known to transformers."""
    AttentionInterface.register(FUSED, _attention)
    AttentionMaskInterface.register(FUSED, _mask)


def _mask(
    *, mask_function: Any, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor | None:
    """[batch, keys] where only padding is masked, else an additive [batch, 1, queries, keys]."""
    plain = mask_function is bidirectional_mask_function
    if plain and attention_mask is not None and attention_mask.ndim == 2:
        return attention_mask.to(torch.int32)
    mask: Tensor | None = eager_mask(
        mask_function=mask_function, attention_mask=attention_mask, **kwargs
    )
    return mask


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention as ONNX Runtime's MultiHeadAttention.

    Args:
        query: [batch, heads, queries, width]; ``key`` and ``value`` alike, with as many heads or a
            whole fraction of them.
        attention_mask: what ``_mask`` made.

    Returns:
        [batch, queries, heads, width], and None for the weights.
    """
    if kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None:
        raise NotImplementedError("attention with a position bias or a soft cap")
    batch, heads, queries, width = query.shape
    if (shared := heads // key.shape[1]) > 1:
        key, value = (states.repeat_interleave(shared, 1) for states in (key, value))
    padding = bias = None
    if attention_mask is not None and attention_mask.ndim == 2:
        padding = attention_mask
    else:
        bias = attention_mask
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (_merge_heads(query), _merge_heads(key), _merge_heads(value), None, padding, bias),
        {"num_heads": heads, "scale": width**-0.5 if scaling is None else float(scaling)},
        dtype=query.dtype,
        shape=(batch, queries, heads * width),
        version=1,
    )
    return output.reshape(batch, queries, heads, width), None


def _merge_heads(states: Tensor) -> Tensor:
    """[batch, heads, length, width] -> [batch, length, heads * width]."""
    batch, heads, length, width = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * width)
