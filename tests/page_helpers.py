"""A report with everything that a page can show, and texts that would break a careless one."""

import math
from html.parser import HTMLParser
from typing import Any

import numpy as np

from ragdistill.metrics.calibration import calibration
from ragdistill.report import schema
from report_helpers import state

HOSTILE = {
    "script": "<script>document.title = 'run'</script>",
    "end of script": "</script></title></style><img src=x onerror=\"document.title='run'\">",
    "quotes": "\"><b onclick='x'>&amp; {{ 7 * 7 }} {% raw %} `--> <!--",
    "right to left": "\u202eكيف أقرأ ملفًا؟ מהו המרחק \u2067abc\u2069",
    "emoji": "👩‍👩‍👧‍👦 🇨🇭 naïve 漢字かな \u0301",
    "long word": "x" * 5_000,
    "link": "https://example.org/a?b=c&d=<e>",
}
"""By what is nasty in it."""


class Parsed(HTMLParser):
    """Well-formedness, links, ids and text of a page."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "


def full() -> dict[str, Any]:
    """A report of an embedder with prefixes, losses, latencies and lost queries."""
    report = schema.build(state())
    for index, speed in enumerate(report["speed"].values()):
        speed["latencies_ms"] = [
            round(speed["p50_ms"] * math.exp(0.004 * (n - 50) + 0.01 * index), 3)
            for n in range(100)
        ]
    report["training"] = {"steps": 100, "held_out_items": 256, "losses": _losses()}
    report["prefixes"] = {
        str(length): {
            "bytes_per_document": 4 * length,
            "search_ms": length / 500,
            "quality": {"nDCG@10": _quality(1 - 3 / length)},
        }
        for length in (384, 256, 128, 64, 60)
    }
    report["quality_by"] = {
        "measure": "nDCG@10",
        "length": [
            {"words": words, "queries": 137, **_quality(kept)}
            for words, kept in (([1, 4], 0.97), ([5, 5], 0.99), ([6, 31], 1.01))
        ],
        "near_duplicate": [
            {"near_duplicate": False, "queries": 409, **_quality(0.99)},
            {
                "near_duplicate": True,
                "queries": 3,
                **_quality(1.0),
                "retention": None,
                "ci95": None,
            },
        ],
    }
    report["quality_by"]["asks"] = [{"asks": "how many", "queries": 9, **_quality(0.98)}]
    report["calibration"] = {key: _calibration(n) for n, key in enumerate(("before", "student"))}
    report["worst"] = {
        "measure": "nDCG@10",
        "depth": 100,
        "worse": 61,
        "better": 48,
        "queries": [_lost(name, text) for name, text in HOSTILE.items()],
    }
    schema.validate(report)
    return report


def _quality(kept: float) -> dict[str, Any]:
    return {
        "teacher": 0.5,
        "student": 0.5 * kept,
        "retention": kept,
        "ci95": [kept - 0.03, kept + 0.02],
    }


def _calibration(system: int) -> dict[str, Any]:
    sure = np.linspace(0.2, 1, 500) ** 0.3
    return calibration(sure, np.arange(500) % 10 < 6 + system)


def _losses() -> list[dict[str, float]]:
    rows = []
    for step in range(10, 101, 10):
        rows.append({"step": step, "train": 2 / step})
        rows.append({"step": step, "held_out": 2.2 / step + max(0, step - 80) / 1000})
    return rows


def _lost(name: str, text: str) -> dict[str, Any]:
    def ranked(place: int, **ranks: int | None) -> dict[str, Any]:
        return {"id": f"{name} {place}", "text": text[place:], "grade": 1, **ranks}

    return {
        "id": name,
        "text": text,
        "teacher": 1.0,
        "student": 0.0,
        "relevant": 7,
        "wanted": [
            ranked(0, teacher_rank=1, student_rank=41),
            ranked(1, teacher_rank=3, student_rank=None),
        ],
        "instead": [ranked(0, teacher_rank=9, student_rank=1) | {"text": None, "grade": None}],
    }
