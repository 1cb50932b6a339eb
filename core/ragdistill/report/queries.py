"""The sections of report.json that tell queries apart: ``quality_by`` and ``worst``."""

from typing import Annotated

from annotated_types import Len

from ragdistill.report.section import Count, Quality, Section


class Group(Quality):
    """The headline measure of some of the queries; ``words`` are their fewest and most, ``asks`` what
    they ask for."""

    queries: Count
    asks: str | None = None
    words: Annotated[list[Count], Len(2, 2)] | None = None
    near_duplicate: bool | None = None


class QualityBy(Section):
    """See ``ragdistill.metrics.by_query.quality_by``; null is what was not looked at."""

    measure: str
    length: list[Group] | None = None
    near_duplicate: list[Group] | None = None
    asks: list[Group] | None = None


class Ranked(Section):
    """A document and where both ranked it, 1 first; null below the depth that was kept."""

    id: str
    text: str | None = None
    grade: int | None = None
    teacher_rank: Count | None = None
    student_rank: Count | None = None


class LostQuery(Section):
    """One query of ``worst``, its figures in the measure named there."""

    id: str
    text: str
    teacher: float
    student: float
    relevant: Count
    wanted: list[Ranked]
    instead: list[Ranked]


class Worst(Section):
    """See ``ragdistill.metrics.worst.worst``."""

    measure: str
    depth: Count
    worse: Count
    better: Count
    queries: list[LostQuery]
