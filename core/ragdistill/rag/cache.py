"""What the parts of stacks said, kept by content below a run: by what the part is and what it was asked.

It is a signal store (:mod:`ragdistill.signals.store`), so a record is safe from ``kill -9`` as soon as it
is there, and Arrow's tools read it: spaces of kind ``text`` hold what was said to a request as JSON
(``{"said": ..., "seconds": ...}``), of kind ``score`` scores of pairs, of kind ``vector`` documents'
vectors.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import SignalStore, Space

FOLDER = "cache"


@dataclass(frozen=True, slots=True)
class Said:
    """What a part said to a request."""

    value: Any
    """Plain JSON."""
    seconds: float
    """What it took, one request at a time."""

    def dumps(self) -> str:
        """As it is kept."""
        told = {"said": self.value, "seconds": self.seconds}
        return json.dumps(told, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> "Said":
        """The inverse of ``dumps``."""
        told = json.loads(text)
        return cls(told["said"], told["seconds"])


class Cache:
    """The cache of the run in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._store = SignalStore(folder / FOLDER)

    def requests(self, part: str) -> Space:
        """Where what the part of this fingerprint said is kept, request by request."""
        return self._space("text", part, "utf8")

    def pairs(self, part: str) -> Space:
        """Where a reranker's scores of single pairs are kept."""
        return self._space("score", part, "float32")

    def vectors(self, part: str, dimensions: int) -> Space:
        """Where an embedder's vectors of documents are kept."""
        return self._space("vector", part, "float32", dimensions)

    def _space(self, kind: str, part: str, dtype: str, dimensions: int | None = None) -> Space:
        asked = Fingerprint(kind, part, "", dtype=dtype, dimensions=dimensions)
        return self._store.space(asked, teacher=part[:16])


def request_key(*request: Any) -> bytes:
    """The key of a request made of plain JSON values."""
    return text_key(json.dumps(request, ensure_ascii=True, separators=(",", ":")))


def said(space: Space, keys: Sequence[bytes]) -> dict[bytes, Said]:
    """What is kept of the requests of ``keys``; those of which nothing is, are left out."""
    missing = {keys[place] for place in space.missing(keys)}
    known = [key for key in dict.fromkeys(keys) if key not in missing]
    if not known:
        return {}
    texts = space.get(known)
    return {key: Said.loads(text) for key, text in zip(known, texts, strict=True)}
