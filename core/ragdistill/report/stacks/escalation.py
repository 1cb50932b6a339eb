"""The students first, and their teachers where they are unsure: in words, for the terminal and the page."""

from collections.abc import Mapping
from typing import Any

from ragdistill.report import view

_ADVICE = {"never": "do not escalate", "teacher": "ask the teachers alone"}


def lines(section: Mapping[str, Any]) -> list[str]:
    """How well the signal tells, and what to do; ``section``: ``escalation`` of report.json."""
    return [telling(section), advice(section)]


def telling(section: Mapping[str, Any]) -> str:
    """Which signal, and whether it tells the queries that were lost."""
    counted = f"{section['lost']:,} of {section['measured_on']:,} lost"
    if section["auroc"] is None:
        return f"by the {section['signal']} no lost query can be told from another, {counted}"
    low, high = section["ci95"]
    tells = "tells" if section["tells"] else "tells nothing about"
    area = f"AUROC {section['auroc']:.2f}, {low:.2f} to {high:.2f}; {counted}"
    return f"the {section['signal']} {tells} which queries the students lose ({area})"


def advice(section: Mapping[str, Any]) -> str:
    """What to do, and what comes of it."""
    decision, reason = (section["advice"][key] for key in ("decision", "reason"))
    if decision != "escalate":
        return f"{_ADVICE[decision]}: {reason}"
    point = next(each for each in section["points"] if each["chosen"])
    quality, latency = point["quality"], point["latency"]
    return (
        f"escalate below {point['threshold']:.4g}, {view.percent(point['share'])} of the queries: keeps"
        f" {view.percent(quality['retention'])} of {section['measure']} ({view.interval(quality['ci95'])}), on"
        f" average {view.figures(latency['mean_ms'])} ms, p95 {view.figures(latency['p95_ms'])} ms,"
        f" {view.percent(latency['share'])} of the teachers' time"
    )
