"""The plots of the page of two stacks: cells by quality and latency, what each student changes, and how
long each stage takes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ragdistill.report.drawing import (
    GATE,
    INK,
    STUDENT,
    TEACHER,
    WIDTH,
    canvas,
    logarithmic,
    look,
    svg,
)
from ragdistill.report.stacks import matrix
from ragdistill.report.stacks.latency import SIDES, Taken
from ragdistill.report.stacks.verdict import findings

_COLOURS = {"teacher": TEACHER, "student": STUDENT}
_MIXED = look(1)  # a mix of the two has the look of an export
_BESIDE = " \N{MULTIPLICATION SIGN} "
_SPREAD = 3.0  # the ratio of milliseconds from which on their axis is logarithmic


def cells(report: Mapping[str, Any]) -> str:
    """Headline measure of every cell against its latency; the front as a line, its cells filled and named
    as the two stacks are. Empty for fewer than two."""
    section = report["rag"]
    key, measure = matrix.latency_key(section), section["faults"]["measure"]
    known = {
        name: (*found, best)
        for (name, cell), best in zip(
            section["cells"].items(), matrix.best_of(section), strict=True
        )
        if (found := matrix.point(cell, key, measure))
    }
    if len(known) < 2:
        return ""
    stacks = {matrix.pure(section, side): _COLOURS[side] for side in SIDES}
    with canvas(1.2 * WIDTH, 3.2) as axes:
        front = sorted((ms, value) for ms, value, best in known.values() if best)
        axes.step(
            *zip(*front, strict=True), where="post", color=INK, linewidth=1, alpha=0.6, zorder=1
        )
        _limits(axes, report, measure)
        for name, (ms, value, best) in known.items():
            colour, marker = (stacks[name], "o") if name in stacks else _MIXED
            fill = colour if best else "none"
            axes.plot(ms, value, color=colour, marker=marker, markersize=7, markerfacecolor=fill)
            if best or name in stacks:
                # Nothing is above and left of the front: there its names have room.
                axes.annotate(
                    name, (ms, value), xytext=(-7 if best else 7, 6), textcoords="offset points",
                    ha="right" if best else "left", color=colour, fontsize=8, fontweight="bold",
                )  # fmt: skip
        _milliseconds(
            axes, [ms for ms, _, _ in known.values()], f"{key[:3]} of a request, milliseconds"
        )
        axes.set_ylabel(measure)
        axes.margins(x=0.12, y=0.15)
        axes.grid()
        return svg(axes, f"{measure} of every mix against its latency, with the Pareto front")


def _limits(axes: Axes, report: Mapping[str, Any], measure: str) -> None:
    """What the criteria ask, as dashed lines."""
    for found in findings(report):
        dashed: dict[str, Any] = {
            "color": GATE,
            "linewidth": 1.2,
            "linestyle": (0, (3, 2)),
            "zorder": 0,
        }
        teacher = report["quality"].get(measure, {}).get("teacher")
        if found["criterion"] == measure and teacher:
            axes.axhline(found["limit"] * teacher, **dashed)


def _milliseconds(axes: Axes, times: Sequence[float], name: str) -> None:
    """An axis of milliseconds: logarithmic where they differ widely."""
    low, high = min(times), max(times)
    axis: Axis = axes.xaxis
    if low > 0 and high > _SPREAD * low:
        axes.set_xscale("log")
        logarithmic(axis, name, low=low, high=high)
        return
    axis.set_major_locator(MaxNLocator(5))
    axis.set_label_text(name)


def effects(found: Mapping[str, Any]) -> str:
    """What each student changes of one measure, and what two change beyond that, with 95 % intervals; those
    that are certain are filled. ``found``: an entry of ``rag.effects``."""
    rows = [*found["main"], *found["interactions"]]
    with canvas(WIDTH, 0.6 + 0.24 * len(rows), framed=False) as axes:
        for line, effect in enumerate(rows):
            colour, marker = (STUDENT, "o") if len(effect["parts"]) == 1 else look(1)
            if effect["ci95"]:
                axes.plot(effect["ci95"], [line, line], color=colour, linewidth=2, alpha=0.55)
            fill = colour if effect["certain"] else "none"
            axes.plot(
                effect["value"],
                line,
                color=colour,
                marker=marker,
                markersize=5,
                markerfacecolor=fill,
            )
        axes.axvline(0, color=TEACHER, linewidth=1.2, zorder=0)
        axes.set_yticks(range(len(rows)), [_BESIDE.join(effect["parts"]) for effect in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(f"change of {found['measure']}")
        axes.grid(axis="x")
        return svg(axes, f"What each student changes of {found['measure']}, with 95 % intervals")


def escalation(section: Mapping[str, Any]) -> str:
    """Quality kept against the mean time of a request, from the students alone to all queries escalated, with
    95 % intervals; beside it the teachers alone, and what escalating by chance would do. Empty where times or
    what is kept are unknown. ``section``: ``escalation`` of report.json."""
    points, alone = section["points"], section["teacher"]["latency"]["mean_ms"]
    ways = [(point["latency"]["mean_ms"], point["quality"]["retention"]) for point in points]
    if alone is None or any(None in way for way in ways):
        return ""
    with canvas(1.2 * WIDTH, 3.2) as axes:
        colour, marker = _MIXED
        at = [(ms, 100 * kept) for ms, kept in ways]
        part = np.linspace(
            0, 1, 65
        )  # straight, and so bent where times are drawn by their logarithms
        chance = [first + part * (last - first) for first, last in zip(at[0], at[-1], strict=True)]
        axes.plot(*chance, color=INK, linewidth=1, linestyle=":", alpha=0.6)
        axes.plot(*zip(*at, strict=True), color=colour, linewidth=1.2, zorder=1)
        for place, (point, (ms, kept)) in enumerate(zip(points, at, strict=True)):
            if point["quality"]["ci95"]:
                ends = [100 * end for end in point["quality"]["ci95"]]
                axes.plot([ms, ms], ends, color=colour, linewidth=2, alpha=0.25)
            look_of = (STUDENT, "o") if place == 0 else (colour, marker)
            axes.plot(ms, kept, color=look_of[0], marker=look_of[1], markersize=5)
            if point["chosen"]:
                axes.plot(ms, kept, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK)
        axes.plot(alone, 100, color=TEACHER, marker="s", markersize=7)
        if section["gate"]:
            dashed = (0, (3, 2))
            axes.axhline(
                100 * section["gate"], color=GATE, linewidth=1.2, linestyle=dashed, zorder=0
            )
        _milliseconds(axes, [*(ms for ms, _ in ways), alone], "mean of a request, milliseconds")
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_ylabel(f"{section['measure']} kept")
        axes.grid()
        return svg(
            axes, f"{section['measure']} kept against the mean time of a request, by threshold"
        )


def stages(taken: Taken) -> str:
    """How the milliseconds of each part, and of the whole, are spread over the requests: the median, half of
    them (thick), nine in ten (thin). Empty where none were kept."""
    roles = dict.fromkeys(role for parts in taken.values() for role in parts)
    rows = [
        (role, side, 1000 * np.asarray(seconds))
        for role in roles
        for side in SIDES
        if (seconds := taken.get(side, {}).get(role))
    ]
    if not rows:
        return ""
    places = _places([role for role, _, _ in rows])
    with canvas(WIDTH, 0.6 + 0.2 * (places[-1] + 1), framed=False) as axes:
        ends = []
        for place, (_, side, times) in zip(places, rows, strict=True):
            low, first, median, third, high = np.quantile(times, (0.05, 0.25, 0.5, 0.75, 0.95))
            colour = _COLOURS[side]
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axes.plot([first, third], [place, place], color=colour, linewidth=5, alpha=0.5)
            axes.plot(
                median, place, color=colour, marker="o" if side == "student" else "s", markersize=4
            )
            ends += [low, high]
        middles = [
            float(np.mean([p for p, row in zip(places, rows, strict=True) if row[0] == role]))
            for role in roles
        ]
        axes.set_yticks(middles, ["all" if role == "total" else role for role in roles])
        axes.set_ylim(places[-1] + 0.7, -0.7)
        _milliseconds(axes, ends, "milliseconds")
        axes.grid(axis="x")
        return svg(
            axes, "Milliseconds of each stage and of whole requests, teachers' and students'"
        )


def _places(roles: Sequence[str]) -> list[float]:
    """How many lines down each row is: a gap before each other role."""
    places = [0.0]
    for before, role in pairwise(roles):
        places.append(places[-1] + (1.0 if role == before else 1.7))
    return places
