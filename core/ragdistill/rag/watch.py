"""The watch over a student in service: outcomes in, *continue*, *warn*, *roll back* or *promote* out.

Pairs are scores of student and teacher on the same request, of the share of traffic that goes to both.
With ``d = student - (1 - loss) teacher``, *roll back* is said once the mean of d is proven below 0 at
the loss of 5 %, *warn* at that of 2 %, *promote* once it is proven above 0 at 5 %. The thresholds are
those of the guides. All that is known stands in a state of plain values, which survives restarts.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from ragdistill.metrics.exact import quantile_bounds
from ragdistill.rag.canary import SHARES, Canary, Decision, Pace, step
from ragdistill.rag.sequential import Betting, Mixture, Sprt

SCHEMA = 1
WINDOW = 1000
"""Requests whose latency counts, the latest."""
_LOOK = 100
_SURE = 0.001
"""Level of a look at latencies: there are many."""
_RANKS: tuple[Decision, ...] = ("roll back", "warn", "promote", "continue")
Share = Annotated[float, Gt(0), Lt(1)]
Latency = Literal["p50_ms", "p99_ms"]
Milliseconds = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Thresholds:
    """When to say what; pairs are (warning, critical)."""

    loss: tuple[Annotated[float, Ge(0), Lt(1)], Share] = (0.02, 0.05)
    """Share of the teacher's mean score."""
    error_rate: tuple[Share, Share] = (0.001, 0.005)
    """Normal is below the first. Tested are rates of twice each against itself: 0.2 % is worth a
    warning, 1 % a roll-back."""
    p50_ms: tuple[Milliseconds, Milliseconds] = (50.0, 100.0)
    p99_ms: tuple[Milliseconds, Milliseconds] = (200.0, 500.0)
    alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    """Share of streams at a threshold that may be told they are beyond it; of each of the tests."""
    bounded: bool = True
    """Whether scores are from 0 to 1, which makes the tests exact."""
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request; what is not known is None."""

    student: float | None = None
    teacher: float | None = None
    error: bool | None = None
    latency_ms: float | None = None


@dataclass
class Watch:
    """All that the watch knows."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    canary: Canary | None = None
    lines: dict[str, int] = field(default_factory=dict)
    """How many lines of each file are in it."""
    pairs: int = 0
    requests: int = 0
    tests: dict[str, Betting | Mixture | Sprt] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    slow: dict[str, Decision] = field(default_factory=dict)
    """Latencies beyond a threshold at the last look."""

    def __post_init__(self) -> None:
        if not self.tests:
            self.begin()

    def begin(self) -> None:
        """Forget the evidence: a new share of traffic is new evidence."""
        told, (warn, critical) = self.thresholds, self.thresholds.loss
        below, above = 1.0, 1 - critical  # the worst that d, or -d, can be for scores from 0 to 1
        self.tests = {
            "roll back": Betting(below) if told.bounded else Mixture(),
            "warn": Betting(below) if told.bounded else Mixture(),
            "promote": Betting(above) if told.bounded else Mixture(),
            "errors warn": Sprt(told.error_rate[0], 2 * told.error_rate[0]),
            "errors roll back": Sprt(told.error_rate[1], 2 * told.error_rate[1]),
        }
        self.kept = {"roll back": 1 - critical, "warn": 1 - warn, "promote": 1 - critical}
        self.pairs = self.requests = 0
        self.latencies.clear()
        self.slow = {}

    @property
    def alpha(self) -> float:
        """Of each test: a roll-out's shares of traffic have a part of it each."""
        return self.thresholds.alpha / (len(SHARES) if self.canary else 1)

    def add(self, outcome: Outcome, now: float) -> Decision:
        """Count one request; what is to be done after it."""
        self.requests += 1
        if self.canary is not None and now < self.canary.since:
            # Lines of the past, played again: their time is the one that counts.
            self.canary = dataclasses.replace(self.canary, since=now)
        if outcome.error is not None:
            for name in ("errors warn", "errors roll back"):
                self.tests[name].add(outcome.error)
        if outcome.student is not None and outcome.teacher is not None:
            self._pair(outcome.student, outcome.teacher)
        if outcome.latency_ms is not None:
            self.latencies.append(outcome.latency_ms)
            if self.requests % _LOOK == 0:
                self._look()
        decision = self.decision()
        if self.canary is not None:
            after = step(self.canary, decision, now)
            if after.stage != self.canary.stage:
                self.begin()
            self.canary = after
        return decision

    def _pair(self, student: float, teacher: float) -> None:
        self.pairs += 1
        for name, kept in self.kept.items():
            sign = 1.0 if name == "promote" else -1.0
            self.tests[name].add(sign * (student - kept * teacher))

    def _look(self) -> None:
        """A latency is beyond a threshold if its lower bound is, whatever else is possible."""
        values = np.array(self.latencies)
        self.slow = {}
        for name, quantile in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            low = quantile_bounds(values, quantile, _SURE)[0]
            warn, critical = getattr(self.thresholds, name)
            if low > warn:
                self.slow[name] = "roll back" if low > critical else "warn"

    def reasons(self) -> dict[str, Decision]:
        """What speaks for each decision but to go on."""
        said: dict[str, Decision] = {}
        words: dict[str, tuple[str, Decision]] = {
            "roll back": (f"loses more than {self.thresholds.loss[1]:.1%}", "roll back"),
            "warn": (f"loses more than {self.thresholds.loss[0]:.1%}", "warn"),
            "promote": (f"loses less than {self.thresholds.loss[1]:.1%}", "promote"),
            "errors roll back": (f"errors above {self.thresholds.error_rate[1]:.2%}", "roll back"),
            "errors warn": (f"errors above {self.thresholds.error_rate[0]:.2%}", "warn"),
        }
        for name, (reason, decision) in words.items():
            if self.tests[name].proven(self.alpha):
                said[reason] = decision
        for name, decision in self.slow.items():
            limit = getattr(self.thresholds, name)[decision == "roll back"]
            said[f"{name.removesuffix('_ms')} above {limit:g} ms"] = decision
        return said

    def decision(self) -> Decision:
        """The gravest of what is said; a roll-out that was rolled back stays so."""
        if self.canary is not None and self.canary.status == "rolled back":
            return "roll back"
        said = {*self.reasons().values(), "continue"}
        return next(rank for rank in _RANKS if rank in said)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, from which :func:`restored` makes it again."""
        return {
            "schema": SCHEMA,
            "decision": self.decision(),
            "reasons": self.reasons(),
            "share": None if self.canary is None else self.canary.share,
            "canary": None if self.canary is None else dataclasses.asdict(self.canary),
            "pairs": self.pairs,
            "requests": self.requests,
            "lines": self.lines,
            "thresholds": dataclasses.asdict(self.thresholds),
            "tests": {name: dataclasses.asdict(test) for name, test in self.tests.items()},
            "latencies": list(self.latencies),
            "slow": self.slow,
        }


def begun(thresholds: Thresholds, pace: Pace | None, now: float) -> Watch:
    """A watch that knows nothing yet; with a ``pace``, over a roll-out that begins ``now``."""
    return Watch(thresholds, None if pace is None else Canary(pace, now))


def restored(state: Mapping[str, Any], thresholds: Thresholds) -> Watch:
    """The watch that :meth:`Watch.as_json` told of.

    Raises:
        KeyError, TypeError, ValueError: ``state`` is none of ours.
    """
    canary = _typed(Canary | None, state["canary"])
    if canary is not None and canary.stage not in range(len(SHARES)):
        raise ValueError(f"stage {canary.stage}")
    watch = Watch(thresholds, canary)
    for name, test in watch.tests.items():
        known = _typed(type(test), state["tests"][name])
        if _fixed(known) != _fixed(test):
            raise ValueError(f"{name}: another test")
        watch.tests[name] = known
    watch.lines = _typed(dict[str, int], state["lines"])
    watch.pairs, watch.requests = _typed(int, state["pairs"]), _typed(int, state["requests"])
    watch.latencies.extend(_typed(list[float], state["latencies"]))
    watch.slow = _typed(dict[Latency, Decision], state["slow"])
    return watch


def _fixed(test: Betting | Mixture | Sprt) -> tuple[object, ...]:
    """What no outcome changes."""
    if isinstance(test, Betting):
        return test.worst, len(test.logs)
    return (test.low, test.high) if isinstance(test, Sprt) else ()


def _typed(of: Any, value: object) -> Any:
    """``value`` as pydantic takes it for one ``of`` that type; ValueError where it does not."""
    from pydantic import TypeAdapter

    return TypeAdapter(of).validate_python(value)
