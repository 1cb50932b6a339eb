"""A student by leaving out layers of a transformer.

Sanh et al., "DistilBERT", arXiv:1910.01108: a student that starts from a subset of the teacher's
layers learns far faster than one that starts from nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ragdistill.errors import UserError


def choose_layers(spec: str, total: int, *, where: str = "--student-layers") -> list[int]:
    """Layer numbers, counted from 0, that ``spec`` keeps of ``total``.

    ``"3"`` keeps three evenly spread ones, the first and the last among them (``[0, 2, 5]`` of
    six); ``"0,2,5"`` and ``"5,"`` name them.

    Raises:
        UserError: not numbers, out of range, repeated or not ascending.
    """
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise UserError(
            f"{spec!r} is neither a number of layers nor a list of layer numbers",
            where=where,
            mend="give 3, or 0,2,5",
        )
    numbers = [int(part) for part in parts]
    if len(numbers) == 1 and "," not in spec:
        return _spread(numbers[0], total, where)
    if numbers[-1] >= total or numbers != sorted(set(numbers)):
        several = f"; --frontier {spec} makes a student of each" if numbers[0] > numbers[-1] else ""
        raise UserError(
            f"{spec!r} does not name layers of a model that has {total}",
            where=where,
            mend=f"name them in ascending order, each once, from 0 to {total - 1}{several}",
        )
    return numbers


def _spread(count: int, total: int, where: str) -> list[int]:
    if not 1 <= count <= total:
        raise UserError(
            f"cannot keep {count} layers of a model that has {total}",
            where=where,
            mend=f"choose from 1 to {total}",
        )
    if count == 1:
        return [0]
    return [round(place * (total - 1) / (count - 1)) for place in range(count)]


def layer_list(model: nn.Module) -> nn.ModuleList:
    """The list of ``model``'s transformer layers: the one as long as its config says.

    Raises:
        UserError: there is none, so layers of this architecture cannot be left out.
    """
    config: Any = model.config
    total = getattr(config, "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == total:
            return module
    raise UserError(
        f"layers of a {type(model).__name__} cannot be left out: no list of them was found",
        where="--student-layers",
        mend="choose another student",
    )


def keep_layers(model: nn.Module, keep: Sequence[int]) -> None:
    """Leave only the layers ``keep`` in ``model``, in place, and say so in its config."""
    layers = layer_list(model)
    kept = [layers[number] for number in keep]
    del layers[:]
    layers.extend(kept)
    config: Any = model.config
    total, config.num_hidden_layers = config.num_hidden_layers, len(kept)
    for name, told in vars(config).items():  # layer_types, no_rope_layers, ...
        if "layer" in name and isinstance(told, list) and len(told) == total:
            setattr(config, name, [told[number] for number in keep])
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", number)  # noqa: B010 - not a declared attribute


def check_config(model: nn.Module) -> None:
    """Make sure that ``model``, some layers of which were left out, is what its config makes: else it
    would be saved, and not loaded again.

    Raises:
        UserError: it is not; layers of this architecture differ in a way that its config cannot say.
    """
    with torch.device("meta"):
        again = type(model)(model.config)
    shapes = [
        {name: part.shape for name, part in each.state_dict().items()} for each in (model, again)
    ]
    # GPT-2 may scale attention by a layer's number.
    scales = [
        [scale for part in each.modules() if type(scale := getattr(part, "scaling", None)) is float]
        for each in (model, again)
    ]
    if shapes[0] != shapes[1] or scales[0] != scales[1]:
        raise UserError(
            f"these layers of a {type(model).__name__} cannot be kept: its config cannot name them",
            where="--student-layers",
            mend="name others, or choose another student",
        )
