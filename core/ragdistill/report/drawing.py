"""What all plots of report.html share: colours, style and the way into the page.

The SVG takes its colours and its font from the page, so that it follows the page into the dark and
onto paper. The same report gives the same bytes.
"""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

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
INK, _MUTED, _LINE, TEACHER, STUDENT, *_EXPORTS, GATE = _COLOURS
_MARKERS = ("o", "s", "D", "^")
WIDTH = 4.7  # inches; about what half a desktop page and a whole phone have

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.color": INK,
    "xtick.color": _MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "text.parse_math": False,
    "axes.facecolor": "none",
}
_WIDE = 40  # times the lowest value, beyond which 1, 2, 5, 10 have no room on an axis
_FRAMED = {"axes.spines.left": True, "ytick.color": _MUTED}


@contextmanager
def canvas(width: float, height: float, *, framed: bool = True) -> Iterator[Axes]:
    """Axes of ``width`` x ``height`` inches in the page's style; ``framed``: with figures on the
    upright axis, not names. What is drawn must be taken by :func:`svg` before it ends."""
    with mpl.rc_context(_STYLE | (_FRAMED if framed else {})):
        axes = Figure(figsize=(width, height), layout="constrained").add_subplot()
        axes.set_axisbelow(True)
        yield axes


def look(index: int) -> tuple[str, str]:
    """Colour and marker of the student (0) and of the exports after it."""
    if index == 0:
        return STUDENT, _MARKERS[0]
    return _EXPORTS[(index - 1) % len(_EXPORTS)], _MARKERS[1 + (index - 1) % 3]


def order(report: Mapping[str, Any], key: str) -> int:
    """The place of a system among the student (0) and the exports after it."""
    return [s.key for s in view.systems(report) if s.role != "teacher"].index(key)


def logarithmic(axis: Axis, name: str, *, low: float, high: float) -> None:
    """A logarithmic axis from ``low`` to ``high`` with plain figures: 1, 2, 5, 10 where there is
    room for them, else powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < _WIDE * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_label_text(f"{name} (logarithmic)")


def svg(axes: Axes, label: str) -> str:
    """The figure of ``axes`` as an element of the page: no prolog, no fixed size, no ids but those
    referred to, nothing that names another host."""
    stream = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The axes are a whole figure's, never those of a part of one.
    # Ids are hashes of what they name: with the label in them two plots of a page share none.
    with mpl.rc_context({"svg.hashsalt": label}):
        cast(Figure, axes.figure).savefig(stream, format="svg", metadata=empty, transparent=True)
    text = stream.getvalue()
    head = rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">'
    text = re.sub(r'^.*?<svg [^>]*viewBox="([^"]*)"[^>]*>', head, text, count=1, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z0-9.]+_\d+"', "", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    # Before 3.10 matplotlib wrote all of the font as one property.
    text = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", text)
    text = text.replace("font-weight: ;", "").replace("xlink:href", "href")
    for stand_in, variable in _COLOURS.items():
        text = text.replace(stand_in, variable)
    return text
