"""The section ``frontier`` on the page: students compared, and quality drawn against speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ragdistill.metrics.pareto import front
from ragdistill.report.drawing import GATE, INK, TEACHER, WIDTH, canvas, logarithmic, look, svg

_SYSTEMS = ("student", "onnx", "onnx-int8")
"""Each has its own look; any other has the one after them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One system of one member, as the page tells it."""

    entry: Mapping[str, Any]
    speed: float
    """As a multiple of the teacher's, or, where that is unknown, texts a second."""
    kept: float
    best: bool
    """Whether no other is faster and as good."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What ``frontier.html.j2`` shows."""

    rows: Sequence[Row]
    plot: Markup


def compared(report: Mapping[str, Any]) -> Compared:
    """The systems compared, the fastest first; none where there is no such section."""
    section = report.get("frontier") or {}
    rows = rows_of(section)
    return Compared(rows, Markup(plot(section, rows)))


def rows_of(section: Mapping[str, Any]) -> list[Row]:
    """Those of the section's entries whose speed and quality are known, the fastest first."""
    key = section.get("speed", "faster")
    known = [
        entry
        for entry in section.get("entries", [])
        if entry.get(key) and (entry.get("quality") or {}).get("retention") is not None
    ]
    points = [(1 / entry[key], entry["quality"]["retention"]) for entry in known]
    rows = [
        Row(entry, entry[key], point[1], on)
        for entry, point, on in zip(known, points, front(points), strict=True)
    ]
    return sorted(rows, key=lambda row: -row.speed)


def plot(section: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Share of the teacher's quality kept against speed, a point with its interval for each system,
    the front as a line, the chosen one ringed; empty for fewer than two."""
    if len(rows) < 2:
        return ""
    multiple = section.get("speed", "faster") == "faster"
    with canvas(1.2 * WIDTH, 3.4) as axes:
        best = [row for row in reversed(rows) if row.best]
        # Left of a point of the front, what is as fast as is asked and keeps most is that point.
        axes.step(
            [row.speed for row in best], [100 * row.kept for row in best],
            where="pre", color=INK, linewidth=1, alpha=0.6, zorder=1,
        )  # fmt: skip
        axes.axhline(100, color=TEACHER, linewidth=1.2, zorder=0)
        if gate := section.get("gate"):
            axes.axhline(gate * 100, color=GATE, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        for row in rows:
            _point(axes, row)
        _speeds(axes, rows, "times the teacher's speed" if multiple else "texts a second")
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_ylabel(f"{section['measure']} kept")
        axes.margins(y=0.15)
        axes.grid()
        _legend(axes, {row.entry["system"] for row in rows})
        return svg(axes, f"Share of the teacher's {section['measure']} kept, against speed")


def _look(system: str) -> tuple[str, str]:
    return look(_SYSTEMS.index(system) if system in _SYSTEMS else len(_SYSTEMS))


def _point(axes: Axes, row: Row) -> None:
    """Filled on the front, hollow elsewhere; the chosen one ringed. On the front with its name."""
    colour, marker = _look(row.entry["system"])
    at = (row.speed, 100 * row.kept)
    if bounds := row.entry.get("interval"):
        ends = [100 * bound for bound in bounds]
        axes.plot([row.speed] * 2, ends, color=colour, linewidth=2, alpha=0.4)
    fill = colour if row.best else "none"
    axes.plot(*at, color=colour, marker=marker, markersize=6, markerfacecolor=fill)
    chosen = row.entry["chosen"]
    if chosen:
        axes.plot(*at, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK)
    if chosen or row.best:
        axes.annotate(
            row.entry["name"], at, xytext=(8, -16 if chosen else 7), textcoords="offset points", fontsize=8,
            fontweight="bold" if chosen else "normal",
        )  # fmt: skip


def _speeds(axes: Axes, rows: Sequence[Row], name: str) -> None:
    low, high = rows[-1].speed, rows[0].speed
    axes.set_xscale("log")
    axes.set_xlim(low * 0.8, high * 1.4)
    logarithmic(axes.xaxis, name, low=low, high=high)


def _legend(axes: Axes, shown: set[str]) -> None:
    handles = []
    for system in sorted(shown, key=lambda one: (*_SYSTEMS, one).index(one)):
        colour, marker = _look(system)
        handles += axes.plot([], [], color=colour, marker=marker, linestyle="none", label=system)
    axes.legend(handles=handles, loc="lower left", fontsize=8)
