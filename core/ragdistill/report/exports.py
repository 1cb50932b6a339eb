"""Which export of a run is to be served."""

from collections.abc import Mapping
from typing import Any


def fastest(report: Mapping[str, Any]) -> str | None:
    """The export of the highest throughput of those that passed their gate and were timed, as report.json
    names it; None where there is none."""
    rates: dict[str, float] = {
        name: rate
        for name, export in report["exports"].items()
        if export.get("passed") is not False
        and (rate := (report["speed"].get(name) or {}).get("per_second"))
    }
    return max(rates, key=lambda name: rates[name], default=None)
