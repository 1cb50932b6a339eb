"""Training with int8's rounding in the forward pass, so that what is learnt is right when rounded.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", arXiv:1712.05877; the gradient goes straight through (arXiv:1308.3432). What is rounded is what
ctranslate2 rounds in int8: matrices and embeddings by rows, symmetric, to 127 steps; what they multiply
token by token, as it comes. (ONNX Runtime's weights have 63 steps here, see
:mod:`ragdistill.export.int8`, and its activations one scale for all tokens unless it is told otherwise.)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ragdistill.errors import UserError

STEPS = 127


def rounded_rows(values: Tensor) -> Tensor:
    """``values`` ``[..., d]`` in multiples of a ``STEPS``-th of the greatest of each row; the gradient is that of
    ``values`` themselves."""
    rows = values.flatten(0, -2)
    most = rows.detach().abs().amax(dim=1).float()
    scales = most.clamp(min=torch.finfo(torch.float32).tiny * STEPS) / STEPS
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    told = torch.fake_quantize_per_channel_affine(rows, scales, zeros, 0, -STEPS, STEPS)
    return told.reshape(values.shape)


class _Rows(nn.Module):
    """A matrix, rounded; once, where it is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[int, Tensor] | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """``weight`` ``[rows, columns]`` rounded row by row; once for each version of it, where it does not learn."""
        if weight.requires_grad:
            return rounded_rows(weight)
        if self._kept is None or self._kept[0] != weight._version:
            self._kept = weight._version, rounded_rows(weight)
        return self._kept[1]


def linear_layers(network: Any) -> list[nn.Linear]:
    """What is rounded of a causal language model besides its embeddings and its head.

    Raises:
        UserError: it has no linear layers to round.
    """
    found = [each for each in network.base_model.modules() if isinstance(each, nn.Linear)]
    if not found:
        raise UserError(
            f"a {type(network).__name__} has no linear layers",
            where="--qat",
            mend="leave it out, or choose another student",
        )
    return found


def adapt(network: Any) -> Callable[[], None]:
    """Have a causal language model read with the rounding of int8, in place.

    Returns:
        What ends it: the weights are then those that were trained, not rounded.

    Raises:
        UserError: it has no linear layers to round.
    """
    inner = linear_layers(network)
    outer = [network.get_input_embeddings(), network.get_output_embeddings()]
    # Where the head is the embeddings, they are rounded once for both.
    shared: dict[int, _Rows] = {}
    matrices = [*inner, *outer]
    for each in matrices:
        rows = shared.setdefault(id(each.weight), _Rows())
        parametrize.register_parametrization(each, "weight", rows)
    hooks = [each.register_forward_pre_hook(_round_given) for each in inner]
    # The head is read by its weight, its layer is not called.
    hooks.append(network.base_model.register_forward_hook(_round_states))

    def end() -> None:
        for hook in hooks:
            hook.remove()
        for each in matrices:
            parametrize.remove_parametrizations(each, "weight", leave_parametrized=False)

    return end


def _round_given(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (rounded_rows(given[0]), *given[1:])


def _round_states(network: nn.Module, given: Any, said: Any) -> Any:
    said.last_hidden_state = rounded_rows(said.last_hidden_state)
    return said
