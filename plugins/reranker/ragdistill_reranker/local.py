"""What all teachers have in common that run on this machine."""

from collections.abc import Callable
from typing import Any

from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel
from ragdistill_reranker.scoring import By


class LocalScorer:
    """A teacher whose weights are here; see ``Scorer``."""

    by: By = "document"

    def __init__(self, model: ResolvedModel, device: str) -> None:
        self.model, self._device = model, device

    @property
    def name(self) -> str:
        """What plans and reports call it."""
        return self.model.name

    @property
    def known_as(self) -> str:
        """What the store knows it by."""
        return self.model.reference

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return self.model.weights_digest

    def meet(self, needed: Callable[[], bool]) -> None:
        """It is who its weights are."""

    def usd(self, tokens: int) -> float | None:
        """Nobody bills it."""
        return 0.0

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""
        model = self.model
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
