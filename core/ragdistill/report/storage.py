"""The section ``storage`` on the page: ways to keep vectors, and the Pareto front drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ragdistill.metrics.pareto import front
from ragdistill.report import view
from ragdistill.report.drawing import (
    GATE,
    INK,
    STUDENT,
    TEACHER,
    canvas,
    logarithmic,
    look,
    svg,
)

_LOOKS = {
    "float32": (STUDENT, "o"),
    "float16": (look(3)[0], "s"),
    "int8": (look(1)[0], "D"),
    "binary": (TEACHER, "^"),
    "binary-rescored": (look(2)[0], "^"),
    "pq": (GATE, "v"),
    "residual": (look(2)[0], "P"),
}
"""Colour and marker of what vectors are kept as."""
_EXACT = ("flat", "tokens")
"""Indexes that leave nothing out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way, as the page tells it."""

    entry: Mapping[str, Any]
    quality: Mapping[str, Any]
    """Of the measure that the page is about."""
    best: bool
    """Whether no other way of the same documents is smaller and as good."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``storage.html.j2`` shows."""

    rows: Sequence[Row]
    left_out: Sequence[Mapping[str, Any]]
    """Entries with a reason and no figures."""
    plot: Markup
    searched: bool
    """Whether what was kept was searched; else candidates were put in order by it."""


def stored(report: Mapping[str, Any]) -> Stored:
    """The ways that were measured, the most documents and the fewest bytes first."""
    entries, measure = report.get("storage") or [], view.headline(report) or ""
    counts = sorted({entry["documents"] for entry in entries}, reverse=True)
    rows = [
        row
        for count in counts
        for row in rows_of([e for e in entries if e["documents"] == count], measure)
    ]
    whole = [row for row in rows if row.entry["documents"] == counts[0]]
    left_out = [entry for entry in entries if entry.get("reason")]
    searched = any("search_ms" in row.entry for row in rows)
    return Stored(rows, left_out, Markup(plot(whole, measure)), searched)


def rows_of(entries: Sequence[Mapping[str, Any]], measure: str) -> list[Row]:
    """Those of ``entries`` that were measured, of one corpus, the fewest bytes first."""
    known = []
    for entry in entries:
        row = (entry.get("quality") or {}).get(measure) or {}
        if entry.get("bytes_per_document") is not None and row.get("student") is not None:
            known.append((entry, row))
    best = front([(entry["bytes_per_document"], row["student"]) for entry, row in known])
    rows = [Row(entry, row, on) for (entry, row), on in zip(known, best, strict=True)]
    return sorted(rows, key=lambda row: row.entry["bytes_per_document"])


def plot(rows: Sequence[Row], measure: str) -> str:
    """Quality against bytes per document, a point for each way, and the front as a line; empty for
    fewer than two."""
    if len(rows) < 2:
        return ""
    with canvas(5.6, 3.4) as axes:
        best = [row for row in rows if row.best]
        axes.step(*_places(best), where="post", color=INK, linewidth=1, alpha=0.6, zorder=1)
        for row in rows:
            _point(axes, row)
        for row in best:
            _name(axes, row)
        _sizes(axes, [row.entry["bytes_per_document"] for row in rows])
        axes.set_ylabel(measure)
        axes.margins(y=0.12)
        axes.grid()
        _legend(axes, {row.entry["vectors"] for row in rows})
        return svg(axes, f"{measure} against bytes per document, with the Pareto front")


def _places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    found = [(row.entry["bytes_per_document"], row.quality["student"]) for row in rows]
    return [size for size, _ in found], [quality for _, quality in found]


def _point(axes: Axes, row: Row) -> None:
    """Filled on the front, hollow elsewhere; larger where the search is not exact."""
    colour, marker = _LOOKS.get(row.entry["vectors"], (INK, "x"))
    axes.plot(
        *_places([row]), color=colour, marker=marker, linestyle="none",
        markersize=6 if row.entry["index"] in _EXACT else 9,
        markerfacecolor=colour if row.best else "none",
    )  # fmt: skip


def _name(axes: Axes, row: Row) -> None:
    """The dimensions of a way on the front, and its index unless it is flat."""
    index = row.entry["index"]
    words = f"{row.entry['dimensions']}" + f" {index}" * (index not in _EXACT)
    at = (row.entry["bytes_per_document"], row.quality["student"])
    axes.annotate(words, at, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)


def _sizes(axes: Axes, sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) * 0.8, max(sizes) * 1.25)
    logarithmic(axes.xaxis, "bytes a document", low=min(sizes), high=max(sizes))
    axes.xaxis.set_major_locator(LogLocator(base=2))


def _legend(axes: Axes, shown: set[str]) -> None:
    """One line for what vectors are kept as, whatever is filled or large."""
    handles = [
        axes.plot([], [], color=colour, marker=marker, linestyle="none", label=name)[0]
        for name, (colour, marker) in _LOOKS.items()
        if name in shown
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=8)
