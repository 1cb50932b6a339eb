"""The cells of a swap matrix on the page: as heat maps, and as a table with the Pareto front."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.metrics.bootstrap import compare
from ragdistill.metrics.pareto import front
from ragdistill.report import view
from ragdistill.report.cascade import MEASURES

FULL = 0.1
"""Share of the teachers' figure lost, or gained, at which a square has its full colour."""
_TELLING = 5e-4  # what rounds to 0.0 % has no colour
Measured = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""By cell and measure, values per query ``[q]``."""


@dataclass(frozen=True, slots=True)
class Square:
    """One measure of one cell, and how it stands to the teachers' cell."""

    cell: str
    value: float | None
    change: float | None
    """Share of the teachers' figure: below 0 is lost. None where that is 0 or unknown."""

    @property
    def way(self) -> str:
        """``loss``, ``gain`` or neither: the CSS class, and with it the colour and the sign."""
        if self.change is None or abs(self.change) < _TELLING:
            return ""
        return "loss" if self.change < 0 else "gain"

    @property
    def heat(self) -> str:
        """How much of the colour, as CSS wants it."""
        return f"{100 * min(1.0, abs(self.change or 0.0) / FULL):.0f}%"

    @property
    def told(self) -> str:
        """The change with a sign of its own: nothing here is told by colour alone."""
        if self.change is None:
            return view.UNKNOWN
        mark = {"loss": "▼", "gain": "▲", "": ""}[self.way]
        shown = abs(self.change) if self.way else 0.0
        return f"{mark} {view.percent(shown)}".strip()


@dataclass(frozen=True, slots=True)
class Grid:
    """A heat map: the roles that are swapped are dealt to its sides."""

    measure: str
    columns: Sequence[Sequence[tuple[str, str]]]
    """Of each column, whose part plays which role: (role, side)."""
    rows: Sequence[tuple[Sequence[tuple[str, str]], Sequence[Square]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A cell of the table."""

    name: str
    squares: Sequence[Square]
    interval: tuple[float, float] | None
    """95 %, of the share of the teachers' headline measure."""
    latency: Mapping[str, Any]
    errors: int
    best: bool
    """Whether no other is as fast and better, or as good and faster."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What ``stacks/cells.html.j2`` shows."""

    measures: Sequence[str]
    headline: str
    mapped: Sequence[str]
    """Those of the measures that effects are told of, and the headline."""
    latency: str
    """The percentile that the front is of."""
    grids: Sequence[Grid]
    rows: Sequence[Row]


def cells(section: Mapping[str, Any], measured: Measured, seed: int) -> Cells:
    """Heat maps and table of ``rag`` of report.json.

    Args:
        measured: what the intervals are made of; cells that are not there have none.
        seed: of the resampling.
    """
    found = section["cells"]
    headline = section["faults"]["measure"]
    known = [key for key in MEASURES if any(key in cell["quality"] for cell in found.values())]
    measures = list(dict.fromkeys([headline, *known]))
    mapped = list(dict.fromkeys([headline, *section["effects"]]))
    whole = len(found) == 2 ** len(section["swapped"])
    return Cells(
        measures,
        headline,
        mapped,
        latency_key(section),
        [_grid(section, measure) for measure in mapped] if whole else [],
        [
            Row(
                name,
                [square(section, name, measure) for measure in measures],
                _interval(section, measured, name, headline, seed),
                cell["latency"].get("total", {}),
                cell["errors"],
                best,
            )
            for (name, cell), best in zip(found.items(), best_of(section), strict=True)
        ],
    )


def pure(section: Mapping[str, Any], side: str) -> str:
    """The name of the cell of one stack alone."""
    return side[0].upper() * len(section["swapped"])


def square(section: Mapping[str, Any], name: str, measure: str) -> Square:
    """One measure of one cell."""
    value, base = (
        section["cells"][cell]["quality"].get(measure) for cell in (name, pure(section, "teacher"))
    )
    change = value / base - 1 if value is not None and base else None
    return Square(name, value, change)


def latency_key(section: Mapping[str, Any]) -> str:
    """The percentile that all cells have: of few queries there is a median alone."""
    totals = [cell["latency"].get("total", {}) for cell in section["cells"].values()]
    return "p95_ms" if all(total.get("p95_ms") is not None for total in totals) else "p50_ms"


def best_of(section: Mapping[str, Any]) -> list[bool]:
    """Of each cell whether it is on the Pareto front of latency and headline measure."""
    key, measure = latency_key(section), section["faults"]["measure"]
    points = [point(cell, key, measure) for cell in section["cells"].values()]
    on = iter(front([each for each in points if each]))
    return [next(on) if each else False for each in points]


def point(cell: Mapping[str, Any], key: str, measure: str) -> tuple[float, float] | None:
    """Milliseconds and quality of a cell; None where one is unknown."""
    taken, value = cell["latency"].get("total", {}).get(key), cell["quality"].get(measure)
    return None if taken is None or value is None else (taken, value)


def _grid(section: Mapping[str, Any], measure: str) -> Grid:
    roles = section["swapped"]
    half = len(roles) // 2
    upright, across = (
        list(itertools.product(("teacher", "student"), repeat=count))
        for count in (half, len(roles) - half)
    )
    return Grid(
        measure,
        [list(zip(roles[half:], sides, strict=True)) for sides in across],
        [
            (
                list(zip(roles[:half], down, strict=True)),
                [square(section, _name((*down, *sides)), measure) for sides in across],
            )
            for down in upright
        ],
    )


def _name(sides: Sequence[str]) -> str:
    return "".join(side[0].upper() for side in sides)


def _interval(
    section: Mapping[str, Any], measured: Measured, name: str, measure: str, seed: int
) -> tuple[float, float] | None:
    teacher, own = (
        measured.get(cell, {}).get(measure) for cell in (pure(section, "teacher"), name)
    )
    if teacher is None or own is None or name == pure(section, "teacher"):
        return None
    both = np.isfinite(teacher) & np.isfinite(own)
    return compare(teacher[both], own[both], seed).ci95 if both.any() else None
