"""A sentence-transformers model as one ONNX graph: encoder, pooling, projection, normalisation.

Done without Optimum, whose exporter does not know transformers 5; the folder is nevertheless laid
out so that Optimum's ``ORTModelForFeatureExtraction`` loads it. Attention becomes ONNX Runtime's
own fused operator at export, where the model lets its attention be replaced; ONNX Runtime fuses
the rest (skip connections, LayerNorm, bias and GELU) when it loads the graph.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    atomic_folder,
    write_config,
    write_tokenizer,
)
from ragdistill.export.graph import keep_layer_norms, save, tidy

log = logging.getLogger(__name__)

OPSET = 20
"""The first opset with ``Gelu``; ONNX Runtime >= 1.17 runs it."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("last_hidden_state", "sentence_embedding")

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

TOLERANCE = 1e-4
"""Largest difference from PyTorch, as a share of the largest component, that a graph may have."""


class EmbedderGraph(nn.Module):
    """The modules of a SentenceTransformer with plain tensors in and out."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoder: Any = modules[0]
        self.heads = nn.ModuleList(modules[1:])

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Token vectors and text vectors.

        Args:
            inputs: int64 [batch, sequence] each, in the order of ``INPUTS``.

        Returns:
            ``last_hidden_state`` [batch, sequence, hidden], ``sentence_embedding`` [batch, d].
        """
        features: dict[str, Any] = dict(zip(INPUTS, inputs, strict=False))
        features = self.encoder(features)
        hidden = features["token_embeddings"]
        for head in self.heads:
            features = head(features)
        return hidden, features["sentence_embedding"]


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
    graph = EmbedderGraph(copy.deepcopy(list(model))).cpu().float().eval()
    names = _input_names(model)
    encoder: Any = model[0]
    with atomic_folder(folder) as temporary:
        _write_first_faithful(graph, names, record, temporary / GRAPH)
        write_config(encoder.model.config, temporary)
        write_tokenizer(model.tokenizer, temporary)
        record.write(temporary)
    return record


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
        max_seq_length=_max_length(encoder.model.config, model),
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


def _max_length(config: Any, model: SentenceTransformer) -> int:
    """Tokens the model takes: the smaller of its own limit and what its positions allow."""
    positions = getattr(config, "max_position_embeddings", None)
    limits = [int(limit) for limit in (model.max_seq_length, positions) if limit]
    return min(limits, default=512)


def _input_names(model: SentenceTransformer) -> tuple[str, ...]:
    features = model.preprocess(["text"])
    return tuple(name for name in INPUTS if name in features)


def _write_first_faithful(
    graph: EmbedderGraph, names: tuple[str, ...], record: EmbedderRecord, path: Path
) -> None:
    """Try fused attention, then the model's plain one; keep the first that equals PyTorch."""
    batches = _samples(graph, names, record)
    graph.encoder.model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = [[tensor.numpy() for tensor in graph(*batch)] for batch in batches]
    reasons = []
    for attention in (FUSED, "eager"):
        try:
            _write_graph(graph, names, attention, path)
            _compare(path, names, batches, expected)
        except OSError:  # a full disk is not the model's fault
            raise
        except Exception as error:  # the exporter raises whatever the model's code raises
            reasons.append(f"{attention}: {type(error).__name__}: {str(error)[:200]}")
            log.debug("ONNX export with %s attention failed", attention, exc_info=True)
            continue
        log.info("exported with %s attention", attention)
        return
    architecture = type(graph.encoder.model).__name__
    raise UserError(f"{architecture} cannot be exported to ONNX ({'; '.join(reasons)})")


def _samples(
    graph: EmbedderGraph, names: tuple[str, ...], record: EmbedderRecord
) -> list[tuple[Tensor, ...]]:
    """Random batches: one text, padded texts, and texts of (up to) the greatest length."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = graph.encoder.model.config.vocab_size
    longest = min(record.max_seq_length, 512)
    batches = []
    for lengths in ([2], [9, 5, 1], [longest, longest // 2 + 1]):
        shape = (len(lengths), max(lengths))
        ids = torch.randint(0, vocabulary, shape, generator=generator)
        ids[ids == record.pad_token_id] = (record.pad_token_id + 1) % vocabulary
        mask = (torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]).long()
        ids = torch.where(mask.bool(), ids, record.pad_token_id)
        batches.append((ids, mask, torch.zeros_like(ids))[: len(names)])
    return batches


def _compare(
    path: Path,
    names: tuple[str, ...],
    batches: Sequence[tuple[Tensor, ...]],
    expected: Sequence[Sequence[np.ndarray]],
) -> None:
    """Raise ValueError where the graph's text vectors are not PyTorch's."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch, (_, vectors) in zip(batches, expected, strict=True):
        feed = {name: tensor.numpy() for name, tensor in zip(names, batch, strict=True)}
        found = session.run(["sentence_embedding"], feed)[0]
        difference = float(np.abs(found - vectors).max() / max(np.abs(vectors).max(), 1e-9))
        if not difference <= TOLERANCE:
            raise ValueError(f"differs from PyTorch by {difference:.2g}")


def _write_graph(graph: EmbedderGraph, names: tuple[str, ...], attention: str, path: Path) -> None:
    register()
    graph.encoder.model.set_attn_implementation(attention)
    # Distinct tensors: the exporter would take one tensor given twice for one input.
    inputs = tuple(torch.ones(2, 7, dtype=torch.long) for _ in names)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=list(OUTPUTS),
            dynamic_shapes=(tuple(dynamic for _ in names),),
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
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
