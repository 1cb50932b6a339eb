"""What report.json says of several students of one teacher."""

from typing import Literal

from ragdistill.report.section import Count, Interval, NonNegative, Quality, Section


class Student(Section):
    """A student of a frontier in one format. ``faster`` is its speed as a multiple of the teacher's,
    ``quality`` that of the frontier's measure, ``interval`` of its retention holds for all compared
    at once; ``passed`` is its export's gate."""

    name: str
    values: dict[str, str]
    system: str
    per_second: NonNegative | None = None
    faster: NonNegative | None = None
    size_mb: NonNegative | None = None
    quality: Quality
    interval: Interval | None = None
    decision: Literal["go", "no-go", "inconclusive"]
    passed: bool | None = None
    chosen: bool


class Frontier(Section):
    """Students of one teacher; the cheapest that passes the gate is this run, or, where none has
    ``passed``, the one that keeps most. ``speed`` names the key that they were compared by."""

    measure: str
    gate: NonNegative
    compared: Count
    speed: Literal["faster", "per_second"]
    passed: bool
    entries: list[Student]
