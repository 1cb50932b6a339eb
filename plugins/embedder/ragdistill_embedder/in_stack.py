"""How an embedder is distilled where it stands in a stack."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.models.resolve import resolve
from ragdistill.rag.retrieval import KINDS
from ragdistill.rag.serving import Position

_STUDENT = {"student", "student_layers", "student_hidden", "student_intermediate", "lora"}
"""Options that say what the student is."""


def distils(position: Position) -> Mapping[str, Any]:
    """Half of the teacher's layers, unless something else is asked for; the index that the stack has.

    Raises:
        UserError: the stack gives it prompts that are not the model's own, which its command knows nothing of.
    """
    for key in position.said:
        raise UserError(
            f"{key} is the stack's own, and a student learns with the prompts of the model",
            mend="save them with the model (config_sentence_transformers.json), or keep the teacher's: "
            "--keep embedder",
        )
    settings = position.stack.embedding
    shaped = settings is not None and settings.index in KINDS
    options: dict[str, Any] = {}
    if settings is not None and shaped:
        options = {"index": settings.index, "index_vectors": settings.vectors}
    if not _STUDENT & position.given.keys():
        options["student_layers"] = _half(position.teachers["embedder"])
    return options


def _half(teacher: str) -> str | None:
    """Half of the layers of ``teacher``, as its files tell; None where they do not."""
    folder = resolve(teacher, kind="embedder").path
    for path in (folder / "config.json", folder / "0_Transformer" / "config.json"):
        layers = _layers(path)
        if layers is not None:
            return str(max(1, layers // 2))
    return None


def _layers(path: Path) -> int | None:
    config: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    layers = config.get("num_hidden_layers") if isinstance(config, dict) else None
    return layers if isinstance(layers, int) else None
