"""What tests of rerankers share: data, and a real HTTP server on this machine that scores pairs, and fails
when told to."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from click.testing import Result

from endpoint_helpers import Served, listening
from tiny_models import save_searched, texts


def piecemeal(folder: Path) -> Path:
    """Data whose documents say the same three times over: there is something to ask, and something left
    that answers."""
    wanted = texts(40)
    save_searched(folder, documents=40, queries=10)
    turned = [" ".join(reversed(text.split())) for text in wanted]
    rows = [
        {"_id": str(number), "text": f"{text}. {other}. {text} {other}."}
        for number, (text, other) in enumerate(zip(wanted, turned, strict=True))
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def report_of(result: Result) -> dict[str, Any]:
    """The report that ``--json`` prints."""
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


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
