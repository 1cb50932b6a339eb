"""The plots of report.html that follow one thing along an axis: quality by dimension, the loss by
step, the latency of single texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from ragdistill.report import view
from ragdistill.report.drawing import (
    GATE,
    STUDENT,
    TEACHER,
    WIDTH,
    canvas,
    logarithmic,
    look,
    order,
    svg,
)

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))
_ROOM = 1.15  # the ratio of two dimensions whose figures do not touch
_WIDE_LOSS = 8.0  # the ratio of losses above which their axis is logarithmic


def by_dimension(report: Mapping[str, Any]) -> str:
    """Share of the teacher's headline measure by dimensions kept, with intervals; empty where fewer
    than two prefixes were measured."""
    measure = view.headline(report)
    rows = {
        int(length): prefix["quality"].get(measure, {})
        for length, prefix in (report.get("prefixes") or {}).items()
        if length.isdecimal()
    }
    points = sorted(
        (n, row["retention"], row.get("ci95"))
        for n, row in rows.items()
        if row.get("retention") is not None
    )
    if len(points) < 2:
        return ""
    lengths, kept = [n for n, _, _ in points], [100 * share for _, share, _ in points]
    with canvas(0.85 * WIDTH, 2.4) as axes:
        for length, _, bounds in points:
            if bounds:
                ends = [100 * bound for bound in bounds]
                axes.plot([length, length], ends, color=STUDENT, linewidth=2, alpha=0.55)
        axes.plot(lengths, kept, color=STUDENT, marker="o", markersize=5, linewidth=1.4)
        axes.axhline(100, color=TEACHER, linewidth=1.2, zorder=0)
        if gate := (report.get("verdict") or {}).get("gate"):
            axes.axhline(gate * 100, color=GATE, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        _dimension_axis(axes, lengths)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.grid(axis="y")
        return svg(axes, f"Share of the teacher's {measure} kept, by dimensions of the vectors")


def _dimension_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """Logarithmic, with a tick at each of the rising ``lengths`` that has room for its figure."""
    axes.set_xscale("log")
    logarithmic(axes.xaxis, "dimensions", low=lengths[0], high=lengths[-1])
    shown: list[int] = []
    for length in reversed(lengths):
        if not shown or shown[-1] >= _ROOM * length:
            shown.append(length)
    axes.xaxis.set_major_locator(FixedLocator(shown))


def learning(report: Mapping[str, Any]) -> str:
    """Loss of training and of held-out texts by step, the best held-out one ringed; empty where
    neither was taken twice."""
    losses = (report.get("training") or {}).get("losses") or []
    curves = {
        name: [(row["step"], row[name]) for row in losses if row.get(name) is not None]
        for name in ("train", "held_out")
    }
    if max(map(len, curves.values())) < 2:
        return ""
    with canvas(0.85 * WIDTH, 2.2) as axes:
        for name, colour, dash in (("train", TEACHER, _DASHES[1]), ("held_out", STUDENT, "-")):
            if curves[name]:
                axes.plot(
                    *zip(*curves[name], strict=True),
                    color=colour,
                    linestyle=dash,
                    marker="o",
                    markersize=3,
                    linewidth=1.6,
                )
        if curves["held_out"]:
            best = min(curves["held_out"], key=lambda point: point[1])
            axes.plot(*best, "o", markersize=9, markerfacecolor="none", markeredgecolor=STUDENT)
        _loss_axis(axes, [value for curve in curves.values() for _, value in curve])
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("step")
        axes.grid(axis="y")
        return svg(axes, "Loss of training and of held-out texts by step")


def trials(report: Mapping[str, Any]) -> str:
    """The held-out loss of each trial of a sweep by step, the best one strong; empty where there is
    no sweep."""
    found = sorted((report.get("sweep") or {}).get("trials", []), key=lambda one: one["held_out"])
    if not found:
        return ""
    with canvas(WIDTH, 2.6) as axes:
        for place, trial in reversed(list(enumerate(found))):
            rows = [row for row in trial["losses"] if "held_out" in row]
            steps, losses = ([row[key] for row in rows] for key in ("step", "held_out"))
            colour, _ = look(0 if place == 0 else 1 + (place - 1) % 3)
            label = ", ".join(f"{key}={value}" for key, value in trial["values"].items())
            width = 2.4 if place == 0 else 1.0
            axes.plot(steps, losses, color=colour, linewidth=width, label=label)
        _loss_axis(
            axes, [row["held_out"] for t in found for row in t["losses"] if "held_out" in row]
        )
        axes.set_xlabel("step")
        axes.set_ylabel("held-out loss")
        axes.grid()
        axes.legend(reverse=True)
        return svg(axes, "Held-out loss by step, for each trial of the sweep")


def _loss_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic where the losses differ widely, or the end of training would be a flat line."""
    low, high = min(values), max(values)
    if low <= 0 or high < _WIDE_LOSS * low:
        axes.set_ylabel("loss")
        return
    axes.set_yscale("log")
    logarithmic(axes.yaxis, "loss", low=low, high=high)


def latency(report: Mapping[str, Any], of: str = "single texts") -> str:
    """Share of single texts (or what ``of`` says) done within so many milliseconds, for each system (the empirical
    distribution function); empty where no latencies were kept."""
    found = {s.key: s.speed.get("latencies_ms") or () for s in view.systems(report)}
    spread = {key: taken for key, each in found.items() if (taken := [ms for ms in each if ms > 0])}
    if not spread:
        return ""
    with canvas(0.85 * WIDTH, 2.6) as axes:
        for index, (key, taken) in enumerate(spread.items()):
            colour = TEACHER if key == "teacher" else look(order(report, key))[0]
            dash = _DASHES[index % len(_DASHES)]
            axes.ecdf(taken, color=colour, linestyle=dash, linewidth=1.8)
        axes.set_xscale("log")
        times = [ms for taken in spread.values() for ms in taken]
        logarithmic(axes.xaxis, "milliseconds", low=min(times), high=max(times))
        axes.yaxis.set_major_locator(FixedLocator((0, 0.5, 0.95)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.grid()
        return svg(axes, f"Share of {of} done within so many milliseconds, by system")
