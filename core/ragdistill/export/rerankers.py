"""Rerankers as ONNX graphs: one that reads query and document together, and one that keeps a vector
for each token of either (ColBERT, arXiv:2004.12832)."""

import copy
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder

from ragdistill.errors import UserError
from ragdistill.export.folder import CrossEncoderRecord, MultiVectorRecord, Side
from ragdistill.export.graphs import ScoresGraph, VectorsGraph
from ragdistill.export.onnx import input_names, max_length, text_plan, write_export

_MASK = "MultiVectorMask"


def export_cross_encoder(
    model: CrossEncoder, folder: Path, *, source_digest: str
) -> CrossEncoderRecord:
    """Write ``model`` as fp32 ONNX into ``folder``, which ``OnnxCrossEncoder`` and Optimum's
    ``ORTModelForSequenceClassification`` load.

    The graph takes int64 ``input_ids``, ``attention_mask`` and, where the tokenizer makes them,
    ``token_type_ids``, each [batch, sequence] of any size, and gives ``logits`` [batch, 1]: scores
    without the function that the model puts behind them. It is compared with PyTorch on random
    tokens before it is kept. The model itself is left as it was; an existing ``folder`` is replaced.

    Raises:
        UserError: it does not say one score of a pair, or its architecture cannot be exported.
    """
    encoder: Any = model[0]
    _check_text(encoder, "scores")
    if [type(module).__name__ for module in model] != ["Transformer"] or model.num_labels != 1:
        raise UserError(
            "the cross-encoder cannot be exported to ONNX",
            mend="use one with a Transformer for sequence classification and one label",
        )
    record = CrossEncoderRecord(
        max_seq_length=max_length(encoder, model.max_seq_length),
        pad_token_id=int(model.tokenizer.pad_token_id or 0),
        source_digest=source_digest,
        prompt=_prompt(model),
    )
    graph, names = ScoresGraph(copy.deepcopy(encoder)), input_names(model, ("text", "text"))
    plan = text_plan(graph, names, record.max_seq_length, record.pad_token_id)
    write_export(plan, model.tokenizer, record, folder)
    return record


def export_multi_vector(
    model: MultiVectorEncoder, folder: Path, *, source_digest: str
) -> MultiVectorRecord:
    """Write ``model`` as fp32 ONNX into ``folder``, which ``OnnxMultiVector`` and Optimum's
    ``ORTModelForCustomTasks`` load; its ``ORTModelForFeatureExtraction`` does too, and hands out
    ``last_hidden_state`` alone.

    The graph takes int64 ``input_ids``, ``attention_mask`` and, where the tokenizer makes them,
    ``token_type_ids``, each [batch, sequence] of any size, and gives ``last_hidden_state`` [batch,
    sequence, hidden] and ``token_embeddings`` [batch, sequence, d]. Which tokens count stands in the
    record, for queries and for documents, and ``OnnxMultiVector`` goes by it. MaxSim stays beside the
    graph: a document's vectors are made once and meet many queries. The graph is compared with PyTorch
    on random tokens before it is kept. The model itself is left as it was; an existing ``folder`` is
    replaced.

    Raises:
        UserError: a module or an architecture that cannot be exported.
    """
    encoder: Any = model[0]
    _check_text(encoder, "token_embeddings")
    kinds = [type(module).__name__ for module in model]
    if not {"Dense", "Normalize", _MASK}.issuperset(kinds[1:]) or kinds.count(_MASK) != 1:
        raise UserError(
            f"modules {', '.join(kinds)} cannot be exported to ONNX",
            mend=f"use a Transformer, then any of Dense and Normalize, and one {_MASK}",
        )
    record = MultiVectorRecord(
        dimensions=int(model.get_embedding_dimension() or 0),
        pad_token_id=int(model.tokenizer.pad_token_id or 0),
        source_digest=source_digest,
        queries=_side(model, "query"),
        documents=_side(model, "document"),
        similarity=str(model.similarity_fn_name),
    )
    # The mask depends on the side, the vectors do not.
    vectors = [module for module in model if type(module).__name__ != _MASK]
    plan = text_plan(
        VectorsGraph(copy.deepcopy(vectors), "token_embeddings"),
        input_names(model, "text"),
        max(record.queries.max_seq_length, record.documents.max_seq_length),
        record.pad_token_id,
    )
    write_export(plan, model.tokenizer, record, folder)
    return record


def _check_text(encoder: Any, output: str) -> None:
    """Refuse a first module that a runtime would give other tokens than it gives itself, or that does
    not say ``output``."""
    tokenizer = encoder.tokenizer
    if getattr(encoder, "module_output_name", None) != output or encoder.modalities != ["text"]:
        raise UserError(
            f"a {type(encoder).__name__} that does not turn text into {output} cannot be exported"
        )
    if {tokenizer.truncation_side, tokenizer.padding_side} != {"right"}:
        raise UserError("a tokenizer that cuts or pads on the left cannot be exported to ONNX")
    if encoder.processing_kwargs:
        raise UserError("a tokenizer with settings of its own cannot be exported to ONNX")


def _prompt(model: CrossEncoder | MultiVectorEncoder, *names: str) -> str:
    """What the model puts before a text: the prompt of the first of ``names`` that it knows, or its
    default one."""
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return (model.prompts.get(name) if name else None) or ""


def _side(model: MultiVectorEncoder, task: str) -> Side:
    """How the model turns a ``query`` or a ``document`` into tokens."""
    encoder: Any = model[0]
    names: tuple[str, ...] = ("document", "passage", "corpus")
    asked, expansion = encoder.document_length, None
    if task == "query":
        names, asked, expansion = ("query",), encoder.query_length, encoder.query_expansion
    filled: dict[str, Any] = {}
    if expansion is not None:
        least = expansion["length"]
        asked = least if expansion["strategy"] == "fixed" else asked and max(asked, least)
        filled = {
            "expanded_to": least,
            "expansion_token_id": _expansion_token(encoder.tokenizer, expansion["token"]),
            "attends_to_expansion": expansion["attend"],
        }
    return Side(
        # A side's own length stands above the tokenizer's.
        max_seq_length=max_length(encoder, asked or encoder.max_seq_length),
        prompt=_prompt(model, *names),
        dropped=_dropped(model, task),
        **filled,
    )


def _expansion_token(tokenizer: Any, token: str | None) -> int:
    """The id of what a query is filled up with; the library has checked that there is one."""
    if token is not None:
        return int(tokenizer.convert_tokens_to_ids(token))
    mask = tokenizer.mask_token_id
    return int(tokenizer.eos_token_id if mask is None else mask)


def _dropped(model: MultiVectorEncoder, task: str) -> tuple[int, ...]:
    """Token ids that the model's mask takes out on a side: what is left of the whole vocabulary."""
    mask: Any = next(module for module in model if type(module).__name__ == _MASK)
    ids = torch.arange(len(model.tokenizer))[None]
    kept = mask({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, task=task)
    return tuple(ids[~kept["attention_mask"].bool()].tolist())
