"""The folder that a causal language model is exported from."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from ragdistill import causal
from ragdistill.errors import loading
from ragdistill.export.causal.runner import TorchCausal
from ragdistill.export.folder import CausalRecord


def load(source: Path) -> TorchCausal:
    """The model in a Hugging Face folder, in float32 on the CPU; no code in the folder is run.

    Raises:
        UserError: it does not load.
    """
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with loading(source, "causal language model"):
        network: Any = AutoModelForCausalLM.from_pretrained(source, dtype="float32", **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    return TorchCausal(network.eval(), tokenizer)


def describe(model: TorchCausal, source_digest: str, precision: str) -> CausalRecord:
    """What a runtime must know of it."""
    ends = tuple(causal.ending_ids(model.network, model.tokenizer))
    window = int(model.network.config.max_position_embeddings)
    words = causal.words(model.tokenizer)
    return CausalRecord(window, ends, source_digest, precision, words)
