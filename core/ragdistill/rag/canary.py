"""How much traffic a student gets: 5, 10, 25, 50, 100 %, as long as it does well.

A pure state machine: :func:`step` takes what the tests say and what time it is, and returns the next
state. Who keeps it, writes it down.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

Decision = Literal["continue", "warn", "roll back", "promote"]
Status = Literal["running", "done", "rolled back"]
Pace = Literal["hours", "days"]

SHARES = (0.05, 0.10, 0.25, 0.50, 1.0)
_HOUR = 3600.0
HOLDS: dict[Pace, tuple[float, ...]] = {
    "hours": (2 * _HOUR, 4 * _HOUR, 6 * _HOUR, 12 * _HOUR, 0.0),
    "days": (24 * _HOUR, 24 * _HOUR, 24 * _HOUR, 4 * 24 * _HOUR, 0.0),
}
"""Seconds that each share is held at the least: the guides' schedules, of one day and of a week."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Where a roll-out stands."""

    pace: Pace
    since: float
    """Seconds since the epoch at which this share began."""
    stage: int = 0
    status: Status = "running"

    @property
    def share(self) -> float:
        """Of the traffic that the student gets."""
        return 0.0 if self.status == "rolled back" else SHARES[self.stage]


def step(canary: Canary, decision: Decision, now: float) -> Canary:
    """The state after ``decision`` at ``now``.

    A share grows on *promote* and after its time, by one stage; *warn* holds it; *roll back* takes all
    traffic away, and only a new start gives it back.
    """
    if canary.status == "rolled back":
        return canary
    if decision == "roll back":
        return dataclasses.replace(canary, status="rolled back", since=now)
    if decision != "promote" or now - canary.since < HOLDS[canary.pace][canary.stage]:
        return canary
    if canary.stage == len(SHARES) - 1:
        return dataclasses.replace(canary, status="done")
    return dataclasses.replace(canary, stage=canary.stage + 1, since=now)
