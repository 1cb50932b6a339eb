"""The plots of report.html: SVG that takes its colours and its font from the page, so that it
follows the page into the dark and onto paper. The same report gives the same bytes."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ragdistill.report import view

# matplotlib knows no CSS variables: these stand for them until the SVG is written.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--teacher)",
    "#050505": "var(--student)",
    "#060606": "var(--export)",
    "#070707": "var(--export-2)",
    "#080808": "var(--export-3)",
    "#090909": "var(--warn)",
}
_INK, _MUTED, _LINE, _TEACHER, _STUDENT, *_EXPORTS, _GATE = _COLOURS
_MARKERS = ("o", "s", "D", "^")
_WIDTH = 4.7  # inches; about what half a desktop page and a whole phone have

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ragdistill",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def retention(report: Mapping[str, Any]) -> str:
    """Share of the teacher's quality with its 95 % interval, by measure, for student and exports;
    empty where nothing was measured."""
    rows = [s for s in view.systems(report) if any(_kept(s, m) for m in report["quality"])]
    measures = [m for m in report["quality"] if any(_kept(s, m) for s in rows)]
    if not measures:
        return ""
    shown = {m: [i for i, s in enumerate(rows) if _kept(s, m) is not None] for m in measures}
    lines = sum(len(of) + 0.9 for of in shown.values())
    places: list[float] = []
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.55 + 0.17 * lines), layout="constrained")
        axes, line = figure.add_subplot(), 0.0
        for measure, of in shown.items():
            for step, index in enumerate(of):
                _whisker(axes, rows[index].quality[measure], index, line + step)
            places.append(line + (len(of) - 1) / 2)
            line += len(of) + 0.9
        axes.axvline(100, color=_TEACHER, linewidth=1.2, zorder=0)
        if gate := (report.get("verdict") or {}).get("gate"):
            axes.axvline(gate * 100, color=_GATE, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        axes.set_yticks(places, measures)
        axes.set_ylim(line - 0.9, -0.9)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return _svg(figure, "Share of the teacher's quality kept, with 95 % intervals, by measure")


def _kept(system: view.System, measure: str) -> float | None:
    return system.quality.get(measure, {}).get("retention")


def _whisker(axes: Axes, row: Mapping[str, Any], index: int, line: float) -> None:
    """The retention of one system in one measure, with its interval, ``line`` lines down."""
    colour, marker = _look(index)
    if bounds := row.get("ci95"):
        ends = [bound * 100 for bound in bounds]
        axes.plot(ends, [line, line], color=colour, linewidth=2, alpha=0.55)
    axes.plot([row["retention"] * 100], [line], color=colour, marker=marker, markersize=5)


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of the student (0) and of the exports after it."""
    if index == 0:
        return _STUDENT, _MARKERS[0]
    return _EXPORTS[(index - 1) % len(_EXPORTS)], _MARKERS[1 + (index - 1) % 3]


def looks(report: Mapping[str, Any]) -> dict[str, str]:
    """System to the CSS class of its colour, the same in plots and tables."""
    names = ["teacher", "student", *(("export", "export-2", "export-3")[i % 3] for i in range(99))]
    return {s.key: name for s, name in zip(view.systems(report), names, strict=False)}


def quality_and_speed(report: Mapping[str, Any]) -> str:
    """Headline measure against texts a second, a point with its interval for each system; empty
    where fewer than two systems have both."""
    measure = view.headline(report)
    points = [p for s in view.systems(report) if (p := _point(report, s, measure))]
    if len(points) < 2:
        return ""
    with mpl.rc_context(_STYLE | {"axes.spines.left": True, "ytick.color": _MUTED}):
        figure = Figure(figsize=(_WIDTH * 0.85, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for index, (key, speed, quality, bounds) in enumerate(points):
            colour, marker = (_TEACHER, "o") if key == "teacher" else _look(_order(report, key))
            if bounds:
                axes.plot([speed, speed], bounds, color=colour, linewidth=2, alpha=0.55)
            axes.plot([speed], [quality], color=colour, marker=marker, markersize=7)
            _name(axes, key, (speed, quality), colour, above=index % 2 == 0)
        _speed_axis(axes, [speed for _, speed, _, _ in points])
        axes.set_ylabel(measure or "")
        axes.margins(y=0.22)
        axes.grid()
        axes.set_axisbelow(True)
        return _svg(figure, f"{measure} against texts a second for teacher, student and exports")


_Point = tuple[str, float, float, tuple[float, float] | None]


def _point(report: Mapping[str, Any], system: view.System, measure: str | None) -> _Point | None:
    """Name, texts a second, quality, its interval; None where one of the first three is unknown."""
    speed = system.speed.get("per_second")
    teacher = report["quality"].get(measure, {}).get("teacher")
    if system.role == "teacher":
        return (system.key, speed, teacher, None) if speed and teacher is not None else None
    row = system.quality.get(measure or "", {})
    if not speed or row.get("student") is None:
        return None
    bounds = row.get("ci95")
    scaled = (bounds[0] * teacher, bounds[1] * teacher) if bounds and teacher else None
    return system.key, speed, row["student"], scaled


def _order(report: Mapping[str, Any], key: str) -> int:
    return [s.key for s in view.systems(report) if s.role != "teacher"].index(key)


def _name(axes: Axes, key: str, at: tuple[float, float], colour: str, *, above: bool) -> None:
    axes.annotate(
        key, at, xytext=(7, 7 if above else -13), textcoords="offset points", color=colour,
        fontweight="bold",
    )  # fmt: skip


def _speed_axis(axes: Axes, speeds: Sequence[float]) -> None:
    """Logarithmic, with room for the names, and figures that are not powers."""
    axes.set_xscale("log")
    low, high = math.log10(min(speeds)), math.log10(max(speeds))
    room = max(high - low, 0.3)
    axes.set_xlim(10 ** (low - 0.12 * room), 10 ** (high + 0.35 * room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("texts a second (logarithmic)")


def _svg(figure: Figure, label: str) -> str:
    """The figure as an element of the page: no prolog, no fixed size, no ids but those referred
    to, nothing that names another host."""
    stream = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=empty, transparent=True)
    svg = stream.getvalue()
    head = rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">'
    svg = re.sub(r'^.*?<svg [^>]*viewBox="([^"]*)"[^>]*>', head, svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    # Before 3.10 matplotlib wrote all of the font as one property.
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", svg)
    svg = svg.replace("font-weight: ;", "").replace("xlink:href", "href")
    for stand_in, variable in _COLOURS.items():
        svg = svg.replace(stand_in, variable)
    return svg
