"""What is told of a model whose weights are here."""

import json
from pathlib import Path
from typing import Any

from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel


def entry(model: ResolvedModel) -> dict[str, Any]:
    """Its name, digests, size and terms, as ``teacher`` of report.json has them."""
    licence = licence_of(model.alias, model.path)
    files = [model.path] if model.path.is_file() else model.path.rglob("*.safetensors")
    return {
        "name": model.name,
        "digest": model.weights_digest,
        "revision": model.revision,
        "parameters": model.alias.parameters if model.alias else None,
        "size_mb": round(sum(file.stat().st_size for file in files) / 1e6, 3),
        "licence": licence.name,
        "outputs_may_train": licence.outputs_may_train,
        "terms": licence.terms,
    }


def architecture(folder: Path) -> str:
    """The class that the configuration in ``folder`` names, or nothing."""
    path = folder / "config.json"
    config: Any = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    named = config.get("architectures") if isinstance(config, dict) else None
    return str(named[0]) if isinstance(named, list) and named else ""
