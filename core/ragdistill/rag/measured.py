"""What a finished run says of cost: throughput, and what distilling took."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragdistill.errors import UserError, nearest
from ragdistill.report import schema, view


@dataclass(frozen=True, slots=True)
class Measured:
    """One system of a run, on a machine of ``hourly`` US dollars."""

    component: str
    system: str
    per_second: float
    tokens: bool
    """Whether ``per_second`` counts tokens, not requests."""
    hourly: float
    report: Mapping[str, Any]

    def once(self, hourly: float, documents: int | None) -> dict[str, float | None]:
        """US dollars for capture, training and embedding ``documents`` again."""
        stages = self.report["stages"]
        seconds = {name: (stages.get(name) or {}).get("seconds") for name in ("collect", "train")}
        billed = (self.report["teacher"].get("endpoint") or {}).get("usd")
        return {
            "capture": _hours(seconds["collect"], hourly) if billed is None else billed,
            "training": _hours(seconds["train"], hourly),
            "reindex": _hours(None if documents is None else documents / self.per_second, hourly),
        }


def _hours(seconds: float | None, hourly: float) -> float | None:
    return None if seconds is None else seconds / 3600 * hourly


def measured(folder: Path, side: Literal["teacher", "student"], hourly: float) -> Measured:
    """Throughput of the teacher, or of the student as it is served: ``RUN/export/KIND`` names the
    export, ``RUN`` alone takes the fastest that passed its gates.

    Raises:
        UserError: no finished run, no such export, or no throughput in its report.
    """
    run, kind = (
        (folder.parents[1], folder.name) if folder.parent.name == "export" else (folder, None)
    )
    report = schema.read(run)
    system = "teacher" if side == "teacher" else kind or view.fastest(report) or "student"
    speed = report["speed"].get(system)
    if speed is None and kind:
        raise UserError(f"no export {kind!r} was timed{nearest(kind, report['speed'])}", where=run)
    # Of stacks that were put under load, what a machine does is what it does for many at once.
    per_second = ((speed or {}).get("load") or speed or {}).get("per_second")
    if not per_second:
        raise UserError(
            f"the {system}'s throughput is not in its report",
            where=run,
            mend="give it yourself: gpu:NAME:REQUESTS_A_SECOND, or api:NAME:TOKENS",
        )
    tokens = (speed or {}).get("unit") == "tokens"
    return Measured(report["component"], system, float(per_second), tokens, hourly, report)


def component(folder: Path) -> str:
    """Which part of a stack the run in ``folder`` is about."""
    run = folder.parents[1] if folder.parent.name == "export" else folder
    name: str = schema.read(run)["component"]
    return name
