"""How long each stage of the two stacks takes, and which share of the teachers' time that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragdistill.metrics.latency import thinned
from ragdistill.report.stacks.matrix import pure

Taken = Mapping[str, Mapping[str, Sequence[float]]]
"""By side and part (or ``total``), seconds of each request."""
SIDES = ("teacher", "student")


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of one stack."""

    role: str
    side: str
    figures: Mapping[str, float | None]
    mean_ms: float | None
    share: float | None
    """Of the mean time of the teachers' whole stack."""


def stages(section: Mapping[str, Any], taken: Taken) -> list[Stage]:
    """The parts of both stacks in the order of a request, and each stack in all."""
    means = {
        (side, role): 1000 * sum(seconds) / len(seconds)
        for side, parts in taken.items()
        for role, seconds in parts.items()
        if seconds
    }
    whole = means.get(("teacher", "total"))

    def stage(role: str, side: str, figures: Mapping[str, Any]) -> Stage:
        mean = means.get((side, role))
        return Stage(
            role, side, figures, mean, mean / whole if mean is not None and whole else None
        )

    return [stage(*each) for each in _measured(section)]


def _measured(section: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    found = {side: section["cells"][pure(section, side)]["latency"] for side in SIDES}
    for role in dict.fromkeys(
        role for latency in found.values() for role in latency if role != "total"
    ):
        yield from ((role, side, found[side][role]) for side in SIDES if role in found[side])
    yield from (("total", side, found[side]["total"]) for side in SIDES if "total" in found[side])


def with_latencies(report: Mapping[str, Any], taken: Taken) -> dict[str, Any]:
    """``report`` with the latencies of whole requests, as a component's report has those of texts."""
    speed = {
        side: {**figures, "latencies_ms": thinned(seconds)}
        if (seconds := taken.get(side, {}).get("total"))
        else figures
        for side, figures in report["speed"].items()
    }
    return {**report, "speed": speed}
