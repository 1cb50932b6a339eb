"""The plots of report.html that compare systems: what each keeps of the teacher, and its speed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ragdistill.report import view
from ragdistill.report.drawing import GATE, TEACHER, WIDTH, canvas, logarithmic, look, order, svg


def retention(report: Mapping[str, Any]) -> str:
    """Share of the teacher's quality with its 95 % interval, by measure, for student and exports;
    empty where nothing was measured."""
    measured = {
        s.key: [m for m in report["quality"] if _kept(s, m) is not None]
        for s in view.systems(report)
    }
    rows = [s for s in view.systems(report) if measured[s.key]]
    measures = [m for m in report["quality"] if any(m in measured[s.key] for s in rows)]
    if not measures:
        return ""
    shown = {m: [i for i, s in enumerate(rows) if _kept(s, m) is not None] for m in measures}
    lines = sum(len(of) + 0.9 for of in shown.values())
    places: list[float] = []
    line = 0.0
    with canvas(WIDTH, 0.55 + 0.17 * lines, framed=False) as axes:
        for measure, of in shown.items():
            for step, index in enumerate(of):
                _whisker(axes, rows[index].quality[measure], index, line + step)
            places.append(line + (len(of) - 1) / 2)
            line += len(of) + 0.9
        axes.axvline(100, color=TEACHER, linewidth=1.2, zorder=0)
        if gate := (report.get("verdict") or {}).get("gate"):
            axes.axvline(gate * 100, color=GATE, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        axes.set_yticks(places, measures)
        axes.set_ylim(line - 0.9, -0.9)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.grid(axis="x")
        return svg(axes, "Share of the teacher's quality kept, with 95 % intervals, by measure")


def _kept(system: view.System, measure: str) -> float | None:
    return system.quality.get(measure, {}).get("retention")


def _whisker(axes: Axes, row: Mapping[str, Any], index: int, line: float) -> None:
    """The retention of one system in one measure, with its interval, ``line`` lines down."""
    colour, marker = look(index)
    if bounds := row.get("ci95"):
        ends = [bound * 100 for bound in bounds]
        axes.plot(ends, [line, line], color=colour, linewidth=2, alpha=0.55)
    axes.plot([row["retention"] * 100], [line], color=colour, marker=marker, markersize=5)


def looks(report: Mapping[str, Any]) -> dict[str, str]:
    """System to the CSS class of its colour, the same in plots and tables."""
    names = ["teacher", "student", *(("export", "export-2", "export-3")[i % 3] for i in range(99))]
    return {s.key: name for s, name in zip(view.systems(report), names, strict=False)}


def quality_and_speed(report: Mapping[str, Any]) -> str:
    """Headline measure against texts (or tokens) a second, a point with its interval for each system; empty
    where fewer than two systems have both."""
    measure = view.headline(report)
    points = [p for s in view.systems(report) if (p := _point(report, s, measure))]
    if len(points) < 2:
        return ""
    with canvas(WIDTH * 0.85, 2.6) as axes:
        for index, (key, speed, quality, bounds) in enumerate(points):
            colour, marker = (TEACHER, "o") if key == "teacher" else look(order(report, key))
            if bounds:
                axes.plot([speed, speed], bounds, color=colour, linewidth=2, alpha=0.55)
            axes.plot([speed], [quality], color=colour, marker=marker, markersize=7)
            _name(axes, key, (speed, quality), colour, above=index % 2 == 0)
        unit = f"{view.unit(report)} a second"
        _speed_axis(axes, [speed for _, speed, _, _ in points], unit)
        axes.set_ylabel(measure or "")
        axes.margins(y=0.22)
        axes.grid()
        return svg(axes, f"{measure} against {unit} for teacher, student and exports")


_Point = tuple[str, float, float, tuple[float, float] | None]


def _point(report: Mapping[str, Any], system: view.System, measure: str | None) -> _Point | None:
    """Name, texts or tokens a second, quality, its interval; None where one of the first three is unknown."""
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


def _name(axes: Axes, key: str, at: tuple[float, float], colour: str, *, above: bool) -> None:
    axes.annotate(
        key, at, xytext=(7, 7 if above else -13), textcoords="offset points", color=colour,
        fontweight="bold",
    )  # fmt: skip


def _speed_axis(axes: Axes, speeds: Sequence[float], unit: str) -> None:
    """Logarithmic, with room for the names."""
    axes.set_xscale("log")
    low, high = math.log10(min(speeds)), math.log10(max(speeds))
    room = max(high - low, 0.3)
    axes.set_xlim(10 ** (low - 0.12 * room), 10 ** (high + 0.35 * room))
    logarithmic(axes.xaxis, unit, low=min(speeds), high=max(speeds))
