"""A late-interaction student as colbert-ai (github.com/stanford-futuredata/ColBERT, 0.2.22) loads it.

Its ``HF_ColBERT`` is a transformer with a ``linear`` beside it, in one file, and ``artifact.metadata`` says how
texts are read. Not all of that can be chosen: a marker always follows the first token, documents always
lose their punctuation (without ``mask_punctuation`` version 0.2.22 fails for want of its list), and queries
are always padded to ``query_maxlen`` with the mask token. So a student has to read texts like that, as those of
:func:`ragdistill_reranker.late_interaction.make_late_interaction` do. Queries that are not expanded can be
had all the same: of a mask token that is the padding token colbert-ai makes vectors of zeros, which add nothing.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder

from ragdistill.errors import UserError
from ragdistill.export.folder import atomic_folder, write_config, write_tokenizer
from ragdistill.files import write_json
from ragdistill_reranker.late_interaction import punctuation

METADATA = "artifact.metadata"
_MODULES = ["Transformer", "Dense", "MultiVectorMask", "Normalize"]
_MODELS = ("bert",)
"""Architectures that were tried in colbert-ai."""


def write_colbert_checkpoint(model: MultiVectorEncoder, folder: Path) -> None:
    """Write ``model`` as a checkpoint of colbert-ai into ``folder``; an existing one is replaced.

    ``colbert.modeling.checkpoint.Checkpoint(folder)`` then gives the vectors that ``encode_query``
    and ``encode_document`` give, and, where queries are expanded, so does ``MultiVectorEncoder(folder)``.

    Raises:
        UserError: colbert-ai cannot read texts as this model does.
    """
    metadata = _metadata(model)
    transformer, dense, *_ = _modules(model)
    inner = transformer.model
    weights = {f"{inner.base_model_prefix}.{key}": one for key, one in inner.state_dict().items()}
    weights["linear.weight"] = dense.linear.weight
    whole = {key: one.detach().cpu().contiguous() for key, one in weights.items()}
    tokenizer = copy.deepcopy(model.tokenizer)
    if transformer.query_expansion is None:
        tokenizer.mask_token = tokenizer.pad_token
    with atomic_folder(folder) as temporary:
        save_file(whole, temporary / "model.safetensors", metadata={"format": "pt"})
        write_config(inner.config, temporary, architectures=["HF_ColBERT"])
        write_tokenizer(tokenizer, temporary)
        write_json(temporary / METADATA, metadata)


def _metadata(model: MultiVectorEncoder) -> dict[str, Any]:
    """How colbert-ai is to read texts."""
    if reason := why_not(model):
        raise UserError(
            f"colbert-ai cannot load this model: {reason}",
            mend="make the student with make_late_interaction, or serve it without colbert-ai",
        )
    transformer, dense, *_ = _modules(model)
    expansion = transformer.query_expansion
    return {
        "dim": int(dense.linear.out_features),
        "query_maxlen": expansion["length"] if expansion else transformer.query_length,
        "doc_maxlen": transformer.document_length,
        "query_token": "[Q]",
        "doc_token": "[D]",
        "query_token_id": _marker(model, "query"),
        "doc_token_id": _marker(model, "document"),
        "mask_punctuation": True,
        "attend_to_mask_tokens": bool(expansion and expansion["attend"]),
        "similarity": "cosine",
        "interaction": "colbert",
    }


def why_not(model: MultiVectorEncoder) -> str:
    """What colbert-ai has no way to do as ``model`` does; empty where it can do all."""
    if (kinds := [type(module).__name__ for module in model]) != _MODULES:
        return f"it has modules {', '.join(kinds)}, not {', '.join(_MODULES)}"
    transformer, dense, skipped, _ = _modules(model)
    if (kind := transformer.model.config.model_type) not in _MODELS:
        return f"its architecture is {kind}, not {' or '.join(_MODELS)}"
    plain = isinstance(dense.activation_function, torch.nn.Identity) and not dense.use_residual
    if dense.linear.bias is not None or not plain:
        return "its projection is not one matrix"
    if not _marker(model, "query") or not _marker(model, "document"):
        return "no single token marks its queries and its documents"
    if (skipped.skiplist_tasks, set(skipped.skiplist_words), skipped.keep_only_token_ids) != (
        ["document"],
        set(punctuation(model.tokenizer)),
        None,
    ):
        return "it does not leave out the punctuation of documents, and of nothing else"
    return _unlike_lengths(transformer)


def _modules(model: MultiVectorEncoder) -> list[Any]:
    """As what they are, which the library's types do not tell."""
    return list(model)


def _unlike_lengths(transformer: Any) -> str:
    expansion = transformer.query_expansion
    if not transformer.document_length or not (expansion or transformer.query_length):
        return "it says no length of queries or of documents"
    if expansion and (expansion["strategy"] != "fixed" or expansion["token"]):
        return "its queries are not expanded to one length with the mask token"
    return ""


def _marker(model: MultiVectorEncoder, task: str) -> str:
    """The token that a text of that kind begins with; empty where it is not one token."""
    pieces = model.tokenizer.tokenize(model.prompts.get(task) or "")
    return pieces[0] if len(pieces) == 1 else ""
