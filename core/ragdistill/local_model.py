"""What all teachers have in common that run on this machine."""

from collections.abc import Callable
from typing import Any

from ragdistill.models.entry import entry
from ragdistill.models.resolve import ResolvedModel


class LocalModel:
    """A teacher whose weights are here."""

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

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""
        return entry(self.model)
