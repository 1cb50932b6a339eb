"""What happens to a fault in data: loading stops at the first, checking collects them all."""

from collections.abc import Callable
from typing import NoReturn

from ragdistill.errors import UserError

Report = Callable[[UserError], None]
"""Takes one fault: raises it (the reader stops) or keeps it (the reader goes on past it)."""


def raise_fault(fault: UserError) -> NoReturn:
    """The :data:`Report` of loading: nothing is read past a fault."""
    raise fault


class Faults:
    """The :data:`Report` of checking: counts every fault and keeps the first ``limit`` of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.count = 0
        self.kept: list[UserError] = []

    def __call__(self, fault: UserError) -> None:
        self.count += 1
        if len(self.kept) < self.limit:
            self.kept.append(fault)
