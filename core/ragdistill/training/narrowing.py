"""A student by leaving out width of a transformer: dimensions of the hidden states, attention heads
and feed-forward neurons that matter least on data.

Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation" (Minitron),
arXiv:2407.14679: mean absolute activations behind the layer norms, norms of what each head gives,
mean absolute activations of neurons. It differs in two things: activations are averaged over
tokens (there: an L2 norm over the batch), and the weights of each layer norm are scaled by what its
input loses in standard deviation, so that what is kept goes on at its former scale.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ragdistill.errors import UserError

_ROWS, _HIDDEN, _HEADS, _ALL_HEADS, _NEURONS = "rows", "hidden", "heads", "all heads", "neurons"
_NORM, _AFTER_HEADS, _AFTER_NEURONS = (_HIDDEN,), (_HIDDEN, _HEADS), (_HIDDEN, _NEURONS)

_LAYOUT: Mapping[str, tuple[str, ...]] = {
    r"embeddings\.\w+_embeddings": (_ROWS, _HIDDEN),
    r"(.+\.)?(LayerNorm|sa_layer_norm|output_layer_norm)": _NORM,
    r".+\.attention\.(self\.(query|key|value)|attn\.[qkv]|[qkv]_lin)": (_HEADS, _HIDDEN),
    r".+\.attention\.(output\.dense|attn\.o|out_lin)": _AFTER_HEADS,
    r".+\.(intermediate\.dense|ffn\.lin1)": (_NEURONS, _HIDDEN),
    r".+\.(output\.dense|ffn\.lin2)": _AFTER_NEURONS,
    r"pooler\.dense": (_HIDDEN, _HIDDEN),
    r"encoder\.relative_attention_bias": (_ROWS, _ALL_HEADS),
}
"""What the axes of a weight stand for, by its module's name in BERT, RoBERTa, XLM-RoBERTa, ELECTRA,
MPNet and DistilBERT; a bias has the first axis. The first pattern that fits counts."""

_LAYER = re.compile(r"\.layer\.(\d+)\.")

Inputs = Mapping[str, Tensor]
"""What a transformer is called with: ``input_ids`` and ``attention_mask`` ``[b, l]`` among it."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Dimensions of the hidden states, attention heads and neurons of each layer."""

    hidden: int
    heads: int
    neurons: int


@dataclass(frozen=True, slots=True)
class Importance:
    """How much each part does; only the order within a row means anything."""

    hidden: Tensor
    """``[hidden]``"""
    heads: Tensor
    """``[layers, heads]``"""
    neurons: Tensor
    """``[layers, neurons]``"""


@dataclass(frozen=True, slots=True)
class Kept:
    """Numbers of the parts that stay, ascending, shaped as in :class:`Importance`."""

    hidden: Tensor
    heads: Tensor
    neurons: Tensor


def widths_of(model: nn.Module) -> Widths:
    """The widths of a transformer.

    Raises:
        UserError: its tensors are not understood.
    """
    _axes(model)
    config: Any = model.config
    return Widths(config.hidden_size, config.num_attention_heads, getattr(config, _neurons(config)))


def choose_widths(model: nn.Module, hidden: int | None, neurons: int | None) -> Widths:
    """Widths of a student of ``model`` with so many ``hidden`` dimensions and ``neurons``. The size
    of a head stays; neurons that are not given shrink with the hidden dimensions.

    Raises:
        UserError: wider than ``model``, no whole number of heads, or tensors not understood.
    """
    whole = widths_of(model)
    size = whole.hidden // whole.heads
    if hidden is not None and (hidden > whole.hidden or hidden % size):
        raise UserError(
            f"no {hidden} dimensions can be kept of {whole.hidden} in heads of {size}",
            where="--student-hidden",
            mend=f"choose from {_some(range(size, whole.hidden + 1, size))}",
        )
    if neurons is not None and neurons > whole.neurons:
        raise UserError(
            f"cannot keep {neurons} neurons of a layer that has {whole.neurons}",
            where="--student-intermediate",
            mend=f"choose from 1 to {whole.neurons}",
        )
    kept = hidden or whole.hidden
    proportional = max(1, round(whole.neurons * kept / whole.hidden))
    return Widths(kept, kept // size, neurons or proportional)


def _some(numbers: Sequence[int]) -> str:
    """The ``numbers``, or of many the first and the last."""
    if len(numbers) <= 16:
        return ", ".join(map(str, numbers))
    return f"{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}"


@torch.inference_mode()
def importance(model: nn.Module, batches: Sequence[Inputs]) -> Importance:
    """How much each part of ``model`` does on ``batches``; padding does not count. Where heads of
    all layers share a table (MPNet), a head counts as one over all layers."""
    whole, layers = widths_of(model), _layers(model)
    found = {
        _NORM: torch.zeros(whole.hidden, dtype=torch.float64),
        _AFTER_HEADS: torch.zeros(layers, whole.heads, dtype=torch.float64),
        _AFTER_NEURONS: torch.zeros(layers, whole.neurons, dtype=torch.float64),
    }

    def hear(name: str, axes: tuple[str, ...], entered: Tensor, left: Tensor) -> None:
        """Of tokens ``[t, width]``: what entered a module, and what left it."""
        if axes == _NORM:
            found[axes] += _exact(left.abs()).sum(dim=0).cpu()
        elif axes == _AFTER_HEADS:
            of_heads = entered.reshape(len(entered), whole.heads, -1).norm(dim=-1)  # [t, heads]
            found[axes][_layer(name)] += _exact(of_heads).sum(dim=0).cpu()
        elif axes == _AFTER_NEURONS:
            found[axes][_layer(name)] += _exact(entered.abs()).sum(dim=0).cpu()

    _run(model, batches, hear)
    heads = found[_AFTER_HEADS]
    if any(_ALL_HEADS in axes for axes in _axes(model).values()):
        heads = heads.sum(dim=0, keepdim=True).expand_as(heads)
    return Importance(found[_NORM], heads, found[_AFTER_NEURONS])


def _exact(values: Tensor) -> Tensor:
    """In float64, which Apple's devices do not have."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def indifferent(model: nn.Module) -> Importance:
    """Every part alike: for a student of which nothing but its size matters yet."""
    whole, layers = widths_of(model), _layers(model)
    return Importance(
        torch.ones(whole.hidden), torch.ones(layers, whole.heads), torch.ones(layers, whole.neurons)
    )


def choose(scores: Importance, widths: Widths) -> Kept:
    """The parts that matter most; among equals the first."""

    def best(rows: Tensor, count: int) -> Tensor:
        return rows.argsort(dim=-1, descending=True, stable=True)[..., :count].sort(dim=-1).values

    return Kept(
        best(scores.hidden, widths.hidden),
        best(scores.heads, widths.heads),
        best(scores.neurons, widths.neurons),
    )


@torch.inference_mode()
def gains(model: nn.Module, batches: Sequence[Inputs], hidden: Tensor) -> dict[str, float]:
    """For each layer norm of ``model``, by name: the standard deviation over the dimensions
    ``hidden`` of what enters it, over that of all of them; the mean over the tokens of ``batches``.
    """
    sums: dict[str, list[float]] = {}

    def hear(name: str, axes: tuple[str, ...], entered: Tensor, left: Tensor) -> None:
        if axes == _NORM:
            entered = _exact(entered)
            kept = entered[:, hidden.to(entered.device)].std(dim=1, correction=0)
            whole = entered.std(dim=1, correction=0).clamp(min=1e-12)
            sums.setdefault(name, []).append(float((kept / whole).sum()))

    tokens = _run(model, batches, hear)
    return {name: sum(parts) / tokens for name, parts in sums.items()}


def narrow(model: nn.Module, kept: Kept, scales: Mapping[str, float]) -> nn.Module:
    """A model of the same class with nothing but the parts ``kept``; ``model`` stays as it is.

    Args:
        scales: of the weights of layer norms, by name, from :func:`gains`; 1 for any other.

    Raises:
        UserError: tensors that are not understood.
    """
    axes, old = _axes(model), widths_of(model)
    config: Any = copy.deepcopy(model.config)
    config.hidden_size = kept.hidden.shape[-1]
    if getattr(config, "embedding_size", None) == old.hidden:  # ELECTRA
        config.embedding_size = config.hidden_size
    config.num_attention_heads = kept.heads.shape[-1]
    setattr(config, _neurons(config), kept.neurons.shape[-1])
    size = old.hidden // old.heads
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        module = name.rpartition(".")[0]
        for dimension, axis in enumerate(axes[name]):
            if axis != _ROWS:
                rows = _places(kept, axis, module, size).to(tensor.device)
                tensor = tensor.index_select(dimension, rows)
        scale = scales.get(module, 1.0) if name.endswith(".weight") else 1.0
        tensors[name] = tensor * scale
    made = type(model)(config)
    for name, _ in list(made.named_children()):
        if getattr(model, name) is None:  # RoBERTa's pooler, where a head for pairs does without
            setattr(made, name, None)
    try:
        made.load_state_dict(tensors)
    except RuntimeError as error:
        raise _not_understood(model) from error
    made.to(next(model.parameters()).device)
    return made.train(model.training)


def narrow_neurons(model: nn.Module, neurons: int, batches: Sequence[Inputs]) -> nn.Module:
    """A model of the same class with so many neurons in each layer, those that matter most on
    ``batches``; the first ones where there are none. ``model`` stays as it is.

    Raises:
        UserError: it has fewer, or its tensors are not understood.
    """
    widths = choose_widths(model, None, neurons)
    scores = importance(model, batches) if batches else indifferent(model)
    return narrow(model, choose(scores, widths), {})


def _places(kept: Kept, axis: str, module: str, size: int) -> Tensor:
    """Rows that stay of an axis of a tensor in ``module``; a head is ``size`` of them."""
    if axis == _HIDDEN:
        return kept.hidden
    if axis == _NEURONS:
        return kept.neurons[_layer(module)]
    if axis == _ALL_HEADS:
        return kept.heads[0]
    return (kept.heads[_layer(module)].unsqueeze(1) * size + torch.arange(size)).flatten()


def _axes(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """What the axes of each tensor stand for, by its name."""
    found = {}
    for name, tensor in model.state_dict().items():
        axes = _axes_of(name.rpartition(".")[0])
        if axes is None:
            raise _not_understood(model, name)
        found[name] = axes[: tensor.ndim]
    return found


def _axes_of(module: str) -> tuple[str, ...] | None:
    return next((axes for part, axes in _LAYOUT.items() if re.fullmatch(part, module)), None)


def _not_understood(model: nn.Module, name: str = "") -> UserError:
    what = f": what its {name} stands for is not known" if name else ""
    return UserError(
        f"the width of a {type(model).__name__} cannot be cut{what}",
        where="--student-hidden, --student-intermediate",
        mend="leave them out, or choose a BERT, RoBERTa, XLM-RoBERTa, MPNet or DistilBERT",
    )


def _layers(model: nn.Module) -> int:
    config: Any = model.config
    return int(config.num_hidden_layers)


def _layer(name: str) -> int:
    match = _LAYER.search(name)
    assert match is not None, name  # what has heads or neurons is in a layer
    return int(match[1])


def _neurons(config: Any) -> str:
    """The config's name for neurons: DistilBERT has one of its own."""
    return "hidden_dim" if hasattr(config, "hidden_dim") else "intermediate_size"


Hear = Callable[[str, tuple[str, ...], Tensor, Tensor], None]


def _run(model: nn.Module, batches: Sequence[Inputs], hear: Hear) -> int:
    """Run ``model`` while ``hear`` is told, of each module that maps states to states, its name, its
    axes, and of real tokens what enters and leaves it; returns how many tokens there were."""
    tokens = 0
    for batch in batches:
        mask = batch["attention_mask"].bool()
        tokens += int(mask.sum())
        with _hooks(model, mask, hear):
            model(**batch)
    return tokens


@contextmanager
def _hooks(model: nn.Module, mask: Tensor, hear: Hear) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        axes = _axes_of(name)
        if axes in (_NORM, _AFTER_HEADS, _AFTER_NEURONS):

            def hook(
                _: nn.Module,
                entered: tuple[Tensor],
                left: Tensor,
                name: str = name,
                axes: tuple[str, ...] = axes,
            ) -> None:
                hear(name, axes, entered[0][mask], left[mask])

            handles.append(module.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
