"""What report.json says of a student that asks its teacher where it is unsure."""

from typing import Literal

from ragdistill.report.measured import Share
from ragdistill.report.section import Count, Interval, NonNegative, Quality, Section


class Latency(Section):
    """Of whole requests; ``share`` is that of the teacher's mean."""

    mean_ms: NonNegative | None = None
    p95_ms: NonNegative | None = None
    share: NonNegative | None = None


class Threshold(Section):
    """Queries whose signal is below ``threshold`` are the ``share`` that is escalated; null stands for none of
    them, and in the last entry for all. ``student`` in ``quality`` is both together."""

    threshold: float | None = None
    share: Share
    quality: Quality
    latency: Latency
    chosen: bool


class Timed(Section):
    """The teacher alone, on the same queries."""

    latency: Latency


class Advice(Section):
    """``never`` is the student alone, ``teacher`` the teacher alone."""

    decision: Literal["escalate", "never", "teacher"]
    reason: str


class Escalation(Section):
    """See ``ragdistill.rag.escalation``. ``auroc``: how often a query that was ``lost`` has a lower ``signal`` than
    another one, null where all or none were; ``tells``: whether 0.5 is below its interval. The ``candidates``
    have theirs on the queries that the signal was chosen on."""

    measure: str
    gate: NonNegative | None = None
    signal: str
    chosen_on: Count
    measured_on: Count
    lost: Count
    auroc: Share | None = None
    ci95: Interval | None = None
    tells: bool
    candidates: dict[str, Share | None]
    teacher: Timed
    points: list[Threshold]
    advice: Advice
