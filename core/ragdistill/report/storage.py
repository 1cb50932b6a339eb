"""The section ``storage`` on the page: ways to keep vectors, and the Pareto front drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from ragdistill.metrics.pareto import front
from ragdistill.report import view
from ragdistill.report.plots import _GATE, _INK, _MUTED, _STUDENT, _STYLE, _TEACHER, _look, _svg

_LOOKS = {
    "float32": (_STUDENT, "o"),
    "float16": (_look(3)[0], "s"),
    "int8": (_look(1)[0], "D"),
    "binary": (_TEACHER, "^"),
    "binary-rescored": (_look(2)[0], "^"),
    "pq": (_GATE, "v"),
}
"""Colour and marker of what vectors are kept as."""
_FRAMED = {"axes.spines.left": True, "ytick.color": _MUTED}


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


def stored(report: Mapping[str, Any]) -> Stored:
    """The ways that were measured, the most documents and the fewest bytes first."""
    entries, measure = report.get("storage") or [], view.headline(report) or ""
    counts = sorted({entry["documents"] for entry in entries}, reverse=True)
    rows = [
        row
        for count in counts
        for row in _rows([e for e in entries if e["documents"] == count], measure)
    ]
    whole = [row for row in rows if row.entry["documents"] == counts[0]]
    left_out = [entry for entry in entries if entry.get("reason")]
    return Stored(rows, left_out, Markup(plot(whole, measure)))


def _rows(entries: Sequence[Mapping[str, Any]], measure: str) -> list[Row]:
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
    with mpl.rc_context(_STYLE | _FRAMED):
        figure = Figure(figsize=(6.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        best = [row for row in rows if row.best]
        axes.step(*_places(best), where="post", color=_INK, linewidth=1, alpha=0.6, zorder=1)
        for row in rows:
            _point(axes, row)
        for row in best:
            _name(axes, row)
        _sizes(axes, [row.entry["bytes_per_document"] for row in rows])
        axes.set_ylabel(measure)
        axes.margins(y=0.12)
        axes.grid()
        axes.set_axisbelow(True)
        _legend(axes)
        return _svg(figure, f"{measure} against bytes per document, with the Pareto front")


def _places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    found = [(row.entry["bytes_per_document"], row.quality["student"]) for row in rows]
    return [size for size, _ in found], [quality for _, quality in found]


def _point(axes: Axes, row: Row) -> None:
    """Filled on the front, hollow elsewhere; larger where the search is not exact."""
    colour, marker = _LOOKS.get(row.entry["vectors"], (_INK, "x"))
    axes.plot(
        *_places([row]), color=colour, marker=marker, linestyle="none",
        markersize=6 if row.entry["index"] == "flat" else 9,
        markerfacecolor=colour if row.best else "none", label=row.entry["vectors"],
    )  # fmt: skip


def _name(axes: Axes, row: Row) -> None:
    """The dimensions of a way on the front, and its index unless it is flat."""
    index = row.entry["index"]
    words = f"{row.entry['dimensions']}" + f" {index}" * (index != "flat")
    at = (row.entry["bytes_per_document"], row.quality["student"])
    axes.annotate(words, at, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)


def _sizes(axes: Axes, sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) * 0.8, max(sizes) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(base=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes a document (logarithmic)")


def _legend(axes: Axes) -> None:
    """One line for what vectors are kept as, whatever is filled."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(named.values(), named.keys(), loc="lower right", fontsize=8)
