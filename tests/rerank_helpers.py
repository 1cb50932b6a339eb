"""A real HTTP server on this machine that scores pairs, and fails when told to."""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from endpoint_helpers import Served, listening


def drawn(query: str, document: str, *, seed: int = 0) -> float:
    """A number in [0, 1) that nobody can guess without both texts."""
    made = hashlib.sha256(f"{seed} {len(query)} {query}{document}".encode()).digest()
    return int.from_bytes(made[:4], "big") / 2**32


def logit(query: str, document: str) -> float:
    """The same on another scale."""
    told = drawn(query, document)
    return math.log(told / (1 - told))


@dataclass
class Reranker(Served):
    """Scores."""

    score: Callable[[str, str], float] = drawn
    units: str = "usage"
    """Where it says what it bills: ``usage``, ``tokens``, ``billed_units`` or ``searches``."""
    route: ClassVar[str] = "/rerank"

    def asked(self, wish: dict[str, Any]) -> list[Any]:
        return [(wish["query"], document) for document in wish["documents"]]

    def count(self, asked: list[Any]) -> int:
        return sum(len(query.split()) + len(document.split()) + 3 for query, document in asked)

    def rows(self, asked: list[Any], fault: str | None) -> list[dict[str, Any]]:
        """As servers have them: the best first, the document told again."""
        rows: list[dict[str, Any]] = [
            {"index": place, "relevance_score": self.score(*pair), "document": {"text": pair[1]}}
            for place, pair in enumerate(asked)
        ]
        rows.sort(key=lambda row: -row["relevance_score"])
        if fault == "nan":
            rows[0]["relevance_score"] = float("nan")
        return rows

    def content(self, rows: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        told: dict[str, Any] = {
            "usage": {"usage": {"total_tokens": tokens}},
            "tokens": {"meta": {"tokens": {"input_tokens": tokens}}},
            "billed_units": {"meta": {"billed_units": {"input_tokens": tokens}}},
            "searches": {"meta": {"billed_units": {"search_units": 1}}},
        }
        return {"id": "made", "results": rows, **(told[self.units] if self.counts else {})}


@contextmanager
def reranking(**options: Any) -> Iterator[Reranker]:
    """A reranker for as long as the block lasts."""
    served = Reranker(**options)
    with listening(served):
        yield served
