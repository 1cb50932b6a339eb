"""Token classifiers as ONNX graphs."""

import copy
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.export.folder import TokenClassifierRecord
from ragdistill.export.graphs import INPUTS, LabelsGraph
from ragdistill.export.onnx import text_plan, write_export


def export_token_classifier(
    network: Any, tokenizer: Any, folder: Path, *, max_seq_length: int, source_digest: str
) -> TokenClassifierRecord:
    """Write ``network`` as fp32 ONNX into ``folder``, which ``OnnxTokenClassifier`` and Optimum's
    ``ORTModelForTokenClassification`` load.

    The graph takes int64 ``input_ids``, ``attention_mask`` and, where the tokenizer makes them,
    ``token_type_ids``, each [batch, sequence] of any size, and gives ``logits`` [batch, sequence, labels].
    It is compared with PyTorch on random tokens before it is kept. The network itself is left as it was; an
    existing ``folder`` is replaced.

    Args:
        network: a transformers model for token classification, with a head named ``classifier``.
        tokenizer: its own.
        max_seq_length: tokens that it is to read, at most.
        source_digest: of its weights.

    Raises:
        UserError: an architecture that cannot be exported.
    """
    if not hasattr(network, "classifier"):
        raise UserError(
            f"a {type(network).__name__} cannot be exported to ONNX: its head is unknown"
        )
    config = network.config
    record = TokenClassifierRecord(
        max_seq_length=max_seq_length,
        pad_token_id=int(tokenizer.pad_token_id or 0),
        labels=tuple(config.id2label[number] for number in range(config.num_labels)),
        source_digest=source_digest,
    )
    graph = LabelsGraph(copy.deepcopy(network).cpu().float().eval())
    names = tuple(name for name in INPUTS if name in tokenizer.model_input_names)
    plan = text_plan(graph, names, max_seq_length, record.pad_token_id)
    write_export(plan, tokenizer, record, folder)
    return record
