"""Training low-rank updates of the linear layers in place of all weights; GPT-2's are transposed, ``Conv1D``.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, by peft.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ragdistill.errors import UserError

_LINEAR = (nn.Linear, Conv1D)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Each linear layer of a transformer, but for its pooler, by its name.

    Raises:
        UserError: there is none, so nothing could be updated.
    """
    found: dict[str, nn.Module] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _LINEAR) and "pooler" not in name.split(".")
    }
    if not found:
        raise UserError(
            f"a {type(model).__name__} has no linear layers",
            where="--lora",
            mend="leave it out, or choose another student",
        )
    return found


def adapt(model: nn.Module, rank: int, seed: int) -> Callable[[], None]:
    """Give each linear layer of a transformer, but for its pooler, an update of so low a ``rank``,
    scaled by 2 (alpha is ``2 * rank``), in place. Nothing else is trained; the updates begin at 0.

    Returns:
        What merges the updates into the weights, in place: ``model`` is then of its own classes
        again.

    Raises:
        UserError: it has no linear layers.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    layers = linear_layers(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=list(layers),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
    )
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        adapted = LoraModel(model, config, "default")

    def merge() -> None:
        adapted.merge_and_unload(progressbar=False)

    return merge
