"""A causal language model as one ONNX graph with a key-value cache.

Inputs and outputs are named and laid out as Optimum's ``ORTModelForCausalLM`` wants them. Of prompts and
of single steps the graph is the same: a prompt's cache has a length of 0.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ragdistill.errors import UserError
from ragdistill.export.causal.source import describe, load
from ragdistill.export.onnx import Plan, write_export

INPUTS = ("input_ids", "attention_mask", "position_ids")


class CausalGraph(nn.Module):
    """Tokens and the cache so far to logits and the cache with those tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = network  # named as in the other graphs: int8 looks for it

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``logits`` [batch, sequence, vocabulary], then keys and values of each layer in turn.

        Args:
            inputs: int64 ``input_ids`` [batch, sequence], ``attention_mask`` [batch, past + sequence] and
                ``position_ids`` [batch, sequence]; then keys and values of each layer in turn, [batch,
                heads, past, width].
        """
        ids, mask, positions, *past = inputs
        cache: Any = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        told = self.encoder(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        states = (part for layer in cache.layers for part in (layer.keys, layer.values))
        return told.logits, *states


def write(source: Path, folder: Path, *, source_digest: str) -> Path:
    """Write the model in ``source`` as fp32 ONNX into ``folder``, which ``OnnxCausal`` and Optimum's
    ``ORTModelForCausalLM`` load.

    It is compared with PyTorch on random tokens before it is kept. An existing ``folder`` is replaced.

    Args:
        source: a Hugging Face folder; no code in it is run.
        folder: where to.
        source_digest: SHA-256 of the weights in ``source``.

    Raises:
        UserError: ``source`` does not load, or has an architecture that cannot be exported.
    """
    model = load(source)
    kinds = set(getattr(model.network.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UserError(
            f"layers with {', '.join(sorted(kinds))} cannot be exported to ONNX",
            where=source,
            mend="serve it from its own folder",
        )
    record = describe(model, source_digest, "fp32")
    write_export(_plan(model.network), model.tokenizer, record, folder)
    return folder


def _plan(network: Any) -> Plan:
    shapes = _cache_shapes(network)
    names = [f"{layer}.{kind}" for layer in range(len(shapes) // 2) for kind in ("key", "value")]
    batch, sequence, past, total = map(
        torch.export.Dim,
        ("batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"),
    )
    return Plan(
        graph=CausalGraph(network),
        network=network,
        inputs=(*INPUTS, *(f"past_key_values.{name}" for name in names)),
        outputs=("logits", *(f"present.{name}" for name in names)),
        compared="logits",
        example=_inputs(network, shapes, 2, 3, 4),
        axes=(
            {0: batch, 1: sequence},
            {0: batch, 1: total},
            {0: batch, 1: sequence},
            *({0: batch, 2: past} for _ in names),
        ),
        samples=tuple(
            _inputs(network, shapes, *sizes) for sizes in ((2, 5, 0), (3, 1, 6), (2, 4, 4))
        ),
    )


@torch.inference_mode()
def _cache_shapes(network: Any) -> list[tuple[int, int]]:
    """Heads and width of the keys and of the values of each layer in turn."""
    cache: Any = DynamicCache()
    network(torch.zeros(1, 1, dtype=torch.long), past_key_values=cache, use_cache=True)
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    return [(int(part.shape[1]), int(part.shape[3])) for part in parts]


def _inputs(
    network: Any, shapes: list[tuple[int, int]], batch: int, sequence: int, past: int
) -> tuple[Tensor, ...]:
    """Random tokens after a random cache, of which the first row's beginning is padding."""
    generator = torch.Generator().manual_seed(past)
    ids = torch.randint(0, network.config.vocab_size, (batch, sequence), generator=generator)
    mask = torch.ones(batch, past + sequence, dtype=torch.long)
    mask[0, : past // 2] = 0
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, past:]
    states = [
        torch.randn(batch, heads, past, width, generator=generator) for heads, width in shapes
    ]
    return ids, mask, positions.contiguous(), *states
