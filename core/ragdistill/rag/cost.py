"""What a distilled stack costs against its teacher's over its whole life; docs/cost.md has the formulas.

A part is paid for in one of two ways: by the request (an endpoint), or by the machine. Machines
follow traffic, and a month costs in proportion to it, but some are up whether requests come or not.
So what a month costs is piecewise linear in its requests, and break-even traffic is found exactly.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ragdistill.rag.prices import HOURS_PER_MONTH

DAYS_PER_MONTH = 365 / 12
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Serving:
    """How one part is paid for."""

    request_usd: float
    """US dollars a request, of machines that are busy."""
    least_usd: float = 0.0
    """US dollars a month of the machines that are up whatever comes."""
    on_machine: bool = False
    """Whether throughput decides what a request costs."""
    source: str = ""
    """Where the figure comes from, for people."""

    def month(self, requests: float) -> float:
        """US dollars a month for so many requests."""
        return max(self.least_usd, requests * self.request_usd)

    def kink(self) -> float:
        """The requests a month from which on more requests cost more."""
        return self.least_usd / self.request_usd if self.request_usd else 0.0

    def scaled(self, *, price: float = 1.0, throughput: float = 1.0) -> "Serving":
        """With other prices and, on machines, another throughput: factors."""
        faster = throughput if self.on_machine else 1.0
        return dataclasses.replace(
            self, request_usd=self.request_usd * price / faster, least_usd=self.least_usd * price
        )


def on_machine(
    usd_per_hour: float, per_second: float, utilisation: float, least: float = 1.0, source: str = ""
) -> Serving:
    """A part on machines of its own.

    Args:
        per_second: requests a second that one machine answers, as measured.
        utilisation: share of that which a machine is loaded with on average, in (0, 1].
        least: machines that are always up; 0 where nothing is paid without requests.
    """
    _positive(usd_per_hour=usd_per_hour, per_second=per_second, utilisation=utilisation)
    if not 0 <= least < math.inf or utilisation > 1:
        raise ValueError(f"least {least}, utilisation {utilisation}")
    request = usd_per_hour / (3600 * per_second * utilisation)
    return Serving(request, least * HOURS_PER_MONTH * usd_per_hour, True, source)


@dataclass(frozen=True, slots=True)
class Once:
    """US dollars that are spent before the first request; None is not known, and counts as nothing."""

    capture: float | None = None
    training: float | None = None
    reindex: float | None = None

    def total(self) -> float:
        known: list[float] = [usd for usd in dataclasses.astuple(self) if usd is not None]
        return math.fsum(known)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the stack by both."""

    teacher: Serving
    student: Serving
    once: Once = Once()


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be reckoned."""

    parts: Mapping[str, Part]
    traffic: float
    """Requests a month."""
    once: Once = Once()
    """What was spent for all parts together."""
    hit_rate: float = 0.0
    """Share of requests that a cache answers, at no cost to either."""
    escalated: float = 0.0
    """Share of the student's requests that the teacher answers again."""
    months: float = 12.0
    """How long the student serves."""
    distillations: int = 1
    """How often it is distilled in that time."""

    def __post_init__(self) -> None:
        _positive(traffic=self.traffic, months=self.months, distillations=self.distillations)
        if not self.parts:
            raise ValueError("no part")
        if not 0 <= self.hit_rate < 1 or not 0 <= self.escalated <= 1:
            raise ValueError(f"hit_rate {self.hit_rate}, escalated {self.escalated}: a share")

    def invested(self) -> float:
        """US dollars that distilling takes in the whole time."""
        spent = self.once.total() + sum(part.once.total() for part in self.parts.values())
        return spent * self.distillations

    def months_usd(self, part: Part, traffic: float) -> tuple[float, float]:
        """US dollars a month of one part by the teacher, and by the student with what it escalates."""
        asked = traffic * (1 - self.hit_rate)
        student = part.student.month(asked)
        if self.escalated:
            student += part.teacher.month(asked * self.escalated)
        return part.teacher.month(asked), student

    def saving(self, traffic: float) -> float:
        """US dollars a month that students save at so many requests a month."""
        both = [self.months_usd(part, traffic) for part in self.parts.values()]
        return math.fsum(teacher - student for teacher, student in both)


@dataclass(frozen=True, slots=True)
class Row:
    """One part, or all of them. Costs for a million requests count those that the cache answers."""

    teacher_per_million: float
    student_per_million: float
    teacher_month: float
    student_month: float
    saving_month: float
    once: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes out, in US dollars."""

    parts: dict[str, Row]
    together: Row
    saving: float | None
    """Share of the teacher's cost that is saved; None where the teacher costs nothing."""
    whole_life: tuple[float, float]
    """Of teacher and student, over all months, with what is spent once."""
    roi: float | None
    """(saved - spent) / spent over all months; None where nothing is spent."""
    break_even_days: float | None
    """Until what was spent is saved; None where it never is."""
    break_even_requests: float | None
    """The requests until then."""
    break_even_traffic: float | None
    """The fewest requests a month with which it is saved within all months; None where none do."""
    sensitivity: list["Swing"] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values; unknown is null."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Swing:
    """One figure changed, all others as they were."""

    what: str
    low: str
    high: str
    saving_month: tuple[float, float]
    break_even_days: tuple[float | None, float | None]


def reckon(case: Case) -> Outcome:
    """What ``case`` costs and saves, and how that swings."""
    rows = {name: _row(case, part) for name, part in case.parts.items()}
    teacher = math.fsum(row.teacher_month for row in rows.values())
    student = math.fsum(row.student_month for row in rows.values())
    invested, saving = case.invested(), case.saving(case.traffic)
    millions = _per_million(case, teacher), _per_million(case, student)
    together = Row(*millions, teacher, student, saving, invested / case.distillations)
    days = break_even_days(case)
    gained = saving * case.months
    return Outcome(
        parts=rows,
        together=together,
        saving=saving / teacher if teacher else None,
        whole_life=(teacher * case.months, student * case.months + invested),
        roi=(gained - invested) / invested if invested else None,
        break_even_days=days,
        break_even_requests=None if days is None else days / DAYS_PER_MONTH * case.traffic,
        break_even_traffic=break_even_traffic(case),
        sensitivity=[_swing(case, *knob) for knob in _knobs(case)],
    )


def _row(case: Case, part: Part) -> Row:
    teacher, student = case.months_usd(part, case.traffic)
    millions = _per_million(case, teacher), _per_million(case, student)
    return Row(*millions, teacher, student, teacher - student, part.once.total())


def _per_million(case: Case, usd: float) -> float:
    return usd / case.traffic * MILLION


def break_even_days(case: Case) -> float | None:
    """Days until the saving has paid for distilling once; None where there is no saving."""
    saving, spent = case.saving(case.traffic), case.invested() / case.distillations
    if saving > 0:
        return spent / saving * DAYS_PER_MONTH
    return None


def break_even_traffic(case: Case) -> float | None:
    """The fewest requests a month with which the saving of all months is what was spent, or more."""

    def gain(traffic: float) -> float:
        return case.saving(traffic) * case.months - case.invested()

    places = [0.0, *sorted(_kinks(case))]
    for start, end in zip(places, [*places[1:], None], strict=True):
        # Linear up to the next kink; behind the last one, for ever.
        ahead = end if end is not None else 2 * start + MILLION
        slope = (gain(ahead) - gain(start)) / (ahead - start) if ahead > start else 0.0
        if gain(start) > 0 or (gain(start) == 0 and slope > 0):
            return start
        if slope > 0 and (end is None or gain(end) >= 0):
            return start - gain(start) / slope
    return None


def _kinks(case: Case) -> Iterator[float]:
    """Where what a month costs bends, in requests a month with those that the cache answers."""
    reach = 1 - case.hit_rate
    for part in case.parts.values():
        yield part.teacher.kink() / reach
        yield part.student.kink() / reach
        if case.escalated:
            yield part.teacher.kink() / reach / case.escalated


def _knobs(case: Case) -> Iterator[tuple[str, tuple[str, Case], tuple[str, Case]]]:
    """What is changed, with the low and the high case: by half and double, a share by 0.2."""

    def parts(side: str, **factors: float) -> Case:
        changed = {
            name: dataclasses.replace(part, **{side: getattr(part, side).scaled(**factors)})
            for name, part in case.parts.items()
        }
        return dataclasses.replace(case, parts=changed)

    def share(name: str, value: float) -> tuple[str, Case]:
        changed: dict[str, Any] = {name: value}
        return f"{value:.0%}", dataclasses.replace(case, **changed)

    half, double = dataclasses.replace(case, traffic=case.traffic / 2), case.traffic * 2
    yield "traffic", ("half", half), ("double", dataclasses.replace(case, traffic=double))
    for side in ("teacher", "student"):
        low, high = (parts(side, price=factor) for factor in (0.5, 2))
        yield f"{side}'s price", ("half", low), ("double", high)
    if any(part.student.on_machine for part in case.parts.values()):
        low, high = (parts("student", throughput=factor) for factor in (0.5, 2))
        yield "student's throughput", ("half", low), ("double", high)
    for label, name, most in (("hit rate", "hit_rate", 0.95), ("escalated", "escalated", 1.0)):
        now = getattr(case, name)
        above = max(now, min(most, now + 0.2))
        yield label, share(name, max(0.0, now - 0.2)), share(name, above)


def _swing(case: Case, what: str, low: tuple[str, Case], high: tuple[str, Case]) -> Swing:
    cases = low[1], high[1]
    saved = [item.saving(item.traffic) for item in cases]
    days = [break_even_days(item) for item in cases]
    return Swing(what, low[0], high[0], (saved[0], saved[1]), (days[0], days[1]))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} {value} is not above 0")
