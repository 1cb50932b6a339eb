"""Training low-rank updates of the linear layers in place of all weights.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, by peft.
"""

from collections.abc import Callable

import torch
from torch import nn


def adapt(model: nn.Module, rank: int, seed: int) -> Callable[[], None]:
    """Give each linear layer of a transformer, but for its pooler, an update of so low a ``rank``,
    scaled by 2 (alpha is ``2 * rank``), in place. Nothing else is trained; the updates begin at 0.

    Returns:
        What merges the updates into the weights, in place: ``model`` is then of its own classes
        again.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=[
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and "pooler" not in name.split(".")
        ],
    )
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        adapted = LoraModel(model, config, "default")

    def merge() -> None:
        adapted.merge_and_unload(progressbar=False)

    return merge
