"""The section ``calibration`` on the page: errors as a table, and the reliability diagram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MultipleLocator

from ragdistill.report.drawing import INK, STUDENT, TEACHER, WIDTH, canvas, look, svg

_LARGEST = 11.0  # points across: the mark of a bin that holds every token


@dataclass(frozen=True, slots=True)
class Row:
    """One system: ``teacher``, ``student``, ``before`` (the student untrained) or an export."""

    key: str
    css: str
    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What ``calibration.html.j2`` shows."""

    rows: Sequence[Row]
    plot: Markup


def calibrated(report: Mapping[str, Any]) -> Calibrated:
    """Every system that was looked at, in the report's order; none where none was."""
    entries = report.get("calibration") or {}
    others = iter(("export", "export-2", "export-3") * len(entries))
    rows = [
        Row(key, key if key in ("teacher", "student") else next(others), entry)
        for key, entry in entries.items()
    ]
    return Calibrated(rows, Markup(reliability(report)))


def reliability(report: Mapping[str, Any]) -> str:
    """Accuracy against confidence in bins of equal width, marks in proportion to the tokens in them;
    on the diagonal is calibrated, below it too sure. Empty where nothing was looked at."""
    entries = report.get("calibration") or {}
    if not entries:
        return ""
    known = {"teacher": (TEACHER, "o"), "student": (STUDENT, "o")}
    looks = iter([look(1 + n % 3) for n in range(len(entries))])
    with canvas(0.75 * WIDTH, 0.75 * WIDTH) as axes:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.6)
        for key, entry in entries.items():
            colour, marker = known.get(key) or next(looks)
            rows = entry["equal_width"]["bins"]
            places = [[row[name] for row in rows] for name in ("confidence", "accuracy")]
            axes.plot(*places, color=colour, linewidth=1.4)
            for *place, count in zip(*places, (row["count"] for row in rows), strict=True):
                size = max(2.0, _LARGEST * sqrt(count / entry["tokens"]))
                axes.plot(*place, color=colour, marker=marker, markersize=size, alpha=0.85)
        for axis, name in ((axes.xaxis, "confidence"), (axes.yaxis, "accuracy")):
            axis.set_major_locator(MultipleLocator(0.2))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
            axis.set_label_text(name)
        axes.set(xlim=(-0.02, 1.03), ylim=(-0.02, 1.03), aspect="equal")
        axes.grid()
        return svg(axes, "Accuracy of tokens against the confidence in them, by system")
