"""The verdict on a distilled stack, in a sentence and criterion by criterion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragdistill.report import view

_DECIDED = {"go": "met", "no-go": "missed", "inconclusive": "undecided"}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion, as the page tells it."""

    name: str
    asked: str
    seen: str
    interval: str
    decision: str
    """``go``, ``no-go`` or ``inconclusive``."""
    decided: str
    """The same in words."""
    needed: str
    """What would settle it; empty where it is settled, or nothing is known to."""


def findings(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The criteria as report.json has them."""
    return (report.get("verdict") or {}).get("findings") or []


def criteria(report: Mapping[str, Any]) -> list[Criterion]:
    """What was asked of the students' stack, and what was seen."""
    return [_criterion(found) for found in findings(report)]


def _criterion(found: Mapping[str, Any]) -> Criterion:
    name, value, limit = found["criterion"], found["value"], found["limit"]
    ends, needed = found["interval"] or (None, None), found["queries_needed"]
    unit = "queries"
    if name == "p95_ms":
        unit, told = "requests", (
            "95 % of requests within", f"{view.figures(limit)} ms", _ms(value), _span(ends, _ms),
        )  # fmt: skip
    elif name == "error_rate":
        unit, told = "requests", (
            "Requests that fail", f"below {view.percent(limit)}", view.percent(value, 2),
            _span(ends, view.percent),
        )  # fmt: skip
    elif name == "saving":
        told = (
            "Machine time saved",
            f"above {view.percent(limit)}",
            view.percent(value),
            view.UNKNOWN,
        )
    else:
        margin = _span(ends, _signed)
        told = (f"{name} kept", f"at least {view.percent(limit)}", view.percent(value),
                margin if margin == view.UNKNOWN else f"margin {margin}")  # fmt: skip
    decision = found["decision"]
    decided = "not measured" if value is None else _DECIDED[decision]
    more = "" if needed is None else f"about {view.count(needed)} {unit} would tell"
    return Criterion(*told, decision, decided, more)


def _ms(value: float | None) -> str:
    return view.UNKNOWN if value is None else f"{view.figures(value)} ms"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _span(ends: Sequence[float | None], form: Any) -> str:
    """An interval; an end that is unknown is left open."""
    low, high = ends
    if low is None and high is None:
        return view.UNKNOWN
    if low is None:
        return f"up to {form(high)}"
    if high is None:
        return f"from {form(low)}"
    return f"{form(low)} to {form(high)}"


def sentence(report: Mapping[str, Any]) -> str:
    """What the students' stack keeps, how long it takes, how often it fails and what it saves, with
    intervals; empty where nothing of it was measured."""
    said = list(_said(report))
    return f"The students' stack {'; '.join(said)}." if said else ""


def _said(report: Mapping[str, Any]) -> Iterator[str]:
    found = {each["criterion"]: each for each in findings(report) if each["value"] is not None}
    kept = [_kept(name, report["quality"][name]) for name in found if name in report["quality"]]
    if kept:
        yield f"keeps {' and '.join(kept)} of its teachers'"
    if late := found.get("p95_ms"):
        theirs = report["speed"].get("teacher", {}).get("p95_ms")
        beside = "" if theirs is None else f", theirs within {_ms(theirs)}"
        between = f" ({_span(late['interval'], view.figures)})" if late["interval"] else ""
        yield f"answers 95 % of requests within {_ms(late['value'])}{between}{beside}"
    if failed := found.get("error_rate"):
        count = round(failed["value"] * failed["queries"])
        yield f"fails on {count if count else 'none'} of {view.count(failed['queries'])} requests"
    if saved := found.get("saving"):
        way = "less" if saved["value"] >= 0 else "more"
        yield f"takes {view.percent(abs(saved['value']))} {way} machine time"


def _kept(name: str, row: Mapping[str, Any]) -> str:
    bounds = row.get("ci95")
    between = f" (95 % interval {view.interval(bounds)})" if bounds else ""
    return f"{view.percent(row.get('retention'))} of {name}{between}"
