"""What a student is to the stages, whatever kind it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ragdistill.data.collection import Query


class Student(Protocol):
    """Rewrites turns."""

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The turns as they are to be searched with, in their order."""

    def save(self, folder: Path) -> None:
        """Leave it in ``folder``, loadable by the ecosystem's own class."""
