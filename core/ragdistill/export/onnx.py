"""A sentence-transformers model as one ONNX graph: an embedder here, rerankers in ``rerankers``.

Done without Optimum, whose exporter does not know transformers 5; the folder is nevertheless laid
out so that Optimum's ``ORTModelFor...`` classes load it. Attention becomes ONNX Runtime's
own fused operator at export, where the model lets its attention be replaced; ONNX Runtime fuses
the rest (skip connections, LayerNorm, bias and GELU) when it loads the graph.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragdistill.errors import UserError
from ragdistill.export.attention import FUSED, register
from ragdistill.export.folder import (
    GRAPH,
    EmbedderRecord,
    Record,
    atomic_folder,
    write_config,
    write_tokenizer,
)
from ragdistill.export.graph import keep_layer_norms, save, tidy
from ragdistill.export.graphs import INPUTS, LabelsGraph, ScoresGraph, VectorsGraph
from ragdistill.quiet import errors_only

log = logging.getLogger(__name__)

OPSET = 20
"""The first opset with ``Gelu``; ONNX Runtime >= 1.17 runs it."""

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

TOLERANCE = 1e-4
"""Largest difference from PyTorch, as a share of the largest component, that a graph may have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that is to be written, and what it is tried on."""

    graph: nn.Module
    network: Any
    """The transformers model in it, whose attention is replaced."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    compared: str
    """The output that must be PyTorch's."""
    example: tuple[Tensor, ...]
    """What the graph is traced with: axes of different sizes, each above 1."""
    axes: tuple[dict[int, Any], ...]
    """Of each input the axes that may have any size."""
    samples: tuple[tuple[Tensor, ...], ...]


def export_embedder(
    model: SentenceTransformer, folder: Path, *, source_digest: str
) -> EmbedderRecord:
    """Write ``model`` as fp32 ONNX into ``folder``, which Optimum and ``OnnxEmbedder`` load.

    The graph takes int64 ``input_ids``, ``attention_mask`` and, where the tokenizer makes them,
    ``token_type_ids``, each [batch, sequence] of any size, and gives ``last_hidden_state`` and
    ``sentence_embedding``. It is compared with PyTorch on random tokens before it is kept. The
    model itself is left as it was; an existing ``folder`` is replaced.

    Raises:
        UserError: a module, pooling or architecture that cannot be exported.
    """
    record = _describe(model, source_digest)
    graph = VectorsGraph(copy.deepcopy(list(model)), "sentence_embedding")
    names = input_names(model, "text")
    plan = text_plan(graph, names, record.max_seq_length, record.pad_token_id)
    write_export(plan, model.tokenizer, record, folder)
    return record


def write_export(plan: Plan, tokenizer: Any, record: Record, folder: Path) -> None:
    """Write a graph, and the model's configuration and tokenizer, into ``folder``, whole or not at all.

    Raises:
        UserError: an architecture that cannot be exported.
    """
    plan.graph.cpu().float().eval()
    with atomic_folder(folder) as temporary:
        _write_first_faithful(plan, temporary / GRAPH)
        # One with a new head may still be listed as the one without.
        name = type(plan.network).__name__
        write_config(plan.network.config, temporary, architectures=[name])
        if (generation := getattr(plan.network, "generation_config", None)) is not None:
            generation.save_pretrained(temporary)  # says what ends a reply
        write_tokenizer(tokenizer, temporary)
        record.write(temporary)


def text_plan(
    graph: VectorsGraph | ScoresGraph | LabelsGraph,
    inputs: tuple[str, ...],
    max_seq_length: int,
    pad_token_id: int,
) -> Plan:
    """The plan of a graph that is given texts.

    Args:
        graph: what is to be written; its last output is compared.
        inputs: those of ``INPUTS`` that the tokenizer makes.
        max_seq_length: tokens that a text may have.
        pad_token_id: what fills a batch up.
    """
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    batches = _text_batches(graph.network.config, min(max_seq_length, 512), pad_token_id)
    return Plan(
        graph=graph,
        network=graph.network,
        inputs=inputs,
        outputs=graph.outputs,
        compared=graph.outputs[-1],
        # Distinct tensors: the exporter would take one tensor given twice for one input.
        example=tuple(torch.ones(2, 7, dtype=torch.long) for _ in inputs),
        axes=tuple(dynamic for _ in inputs),
        samples=tuple(batch[: len(inputs)] for batch in batches),
    )


def _describe(model: SentenceTransformer, source_digest: str) -> EmbedderRecord:
    """Check that every module is one the graph can hold; say how to run it."""
    encoder: Any = model[0]
    kinds = [type(module).__name__ for module in model]
    known = {"Dense", "Normalize", "LayerNorm", "Dropout"}
    if kinds[:2] != ["Transformer", "Pooling"] or not known.issuperset(kinds[2:]):
        raise UserError(
            f"modules {', '.join(kinds)} cannot be exported to ONNX",
            mend=f"use a Transformer and a Pooling, then any of {', '.join(sorted(known))}",
        )
    return EmbedderRecord(
        max_seq_length=max_length(encoder, model.max_seq_length),
        dimensions=int(model.get_embedding_dimension() or 0),
        pad_token_id=int(model.tokenizer.pad_token_id or 0),
        lower_case=bool(encoder.do_lower_case),
        normalised=kinds[-1] == "Normalize",
        pooling=_pooling(model[1]),
        source_digest=source_digest,
        prompts={name: prompt for name, prompt in model.prompts.items() if prompt},
    )


def _pooling(pooling: Any) -> str:
    """The pooling's name; several are joined by ``+``."""
    modes = pooling.pooling_mode
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise UserError(
            f"pooling {unknown[0]!r} cannot be exported", mend=f"use one of {', '.join(POOLINGS)}"
        )
    if not pooling.include_prompt:
        raise UserError("a pooling that leaves out the prompt cannot be exported to ONNX")
    return "+".join(modes)


def max_length(encoder: Any, asked: int | None) -> int:
    """Tokens that a text may have: the smaller of what is asked for and what its positions allow."""
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    return min([int(limit) for limit in (asked, positions) if limit], default=512)


def input_names(model: Any, example: str | tuple[str, str]) -> tuple[str, ...]:
    """Those of ``INPUTS`` that the model's tokenizer makes of a text or of a pair."""
    features = model.preprocess([example])
    return tuple(name for name in INPUTS if name in features)


def _write_first_faithful(plan: Plan, path: Path) -> None:
    """Try fused attention, then the model's plain one; keep the first that equals PyTorch."""
    plan.network.set_attn_implementation("eager")
    place = plan.outputs.index(plan.compared)
    with torch.inference_mode():
        expected = [plan.graph(*batch)[place].numpy() for batch in plan.samples]
    reasons = []
    for attention in (FUSED, "eager"):
        try:
            _write_graph(plan, attention, path)
            _compare(plan, path, expected)
        except OSError:  # a full disk is not the model's fault
            raise
        except Exception as error:  # the exporter raises whatever the model's code raises
            reasons.append(f"{attention}: {type(error).__name__}: {str(error)[:200]}")
            log.debug("ONNX export with %s attention failed", attention, exc_info=True)
            continue
        log.info("exported with %s attention", attention)
        return
    name = type(plan.network).__name__
    raise UserError(f"{name} cannot be exported to ONNX ({'; '.join(reasons)})")


def _text_batches(config: Any, longest: int, pad: int) -> list[tuple[Tensor, ...]]:
    """Random batches of all ``INPUTS``: one text, padded texts, and texts of (up to) the greatest
    length."""
    generator = torch.Generator().manual_seed(0)
    kinds = max(1, getattr(config, "type_vocab_size", None) or 1)
    batches: list[tuple[Tensor, ...]] = []
    for lengths in ([2], [9, 5, 1], [longest, longest // 2 + 1]):
        shape = (len(lengths), max(lengths))
        ids = torch.randint(0, config.vocab_size, shape, generator=generator)
        ids[ids == pad] = (pad + 1) % config.vocab_size
        mask = (torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]).long()
        ids = torch.where(mask.bool(), ids, pad)
        types = torch.randint(0, kinds, shape, generator=generator) * mask
        batches.append((ids, mask, types))
    return batches


def _compare(plan: Plan, path: Path, expected: Sequence[np.ndarray]) -> None:
    """Raise ValueError where the graph does not say what PyTorch says, ``expected``."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    differences, largest = [], 1e-9
    for batch, wanted in zip(plan.samples, expected, strict=True):
        feed = {name: tensor.numpy() for name, tensor in zip(plan.inputs, batch, strict=True)}
        found = session.run([plan.compared], feed)[0]
        differences.append(np.abs(found - wanted).max())
        largest = max(largest, float(np.abs(wanted).max()))
    # One text's logit may be next to nothing: what counts is the model's scale.
    difference = float(np.max(differences) / largest)
    if not difference <= TOLERANCE:
        raise ValueError(f"differs from PyTorch by {difference:.2g}")


def _write_graph(plan: Plan, attention: str, path: Path) -> None:
    register()
    plan.network.set_attn_implementation(attention)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            plan.graph,
            plan.example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(plan.inputs),
            output_names=list(plan.outputs),
            dynamic_shapes=(plan.axes,),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    tidy(proto)
    keep_layer_norms(proto)
    save(proto, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself off stderr."""
    with errors_only("torch.onnx", "onnxscript", "onnx_ir"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
