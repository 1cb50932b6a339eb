"""What a distilled stack has to meet before it replaces its teacher: the guides' criteria, editable."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le, Lt

from ragdistill.errors import UserError, nearest
from ragdistill.mappings import checked, read_mapping

Gate = Annotated[float, Gt(0), Le(1)]
_OFF = {"none", "off", "null"}


@dataclass(frozen=True)
class Criteria:
    """Each is met or not; None asks nothing. A file of criteria has these keys."""

    quality: dict[str, Gate] = field(default_factory=lambda: {"*": 0.93})
    """Share of the teacher's mean to be kept, by measure; ``*`` and its like stand for those that are
    not named."""
    p95_ms: Annotated[float, Gt(0)] | None = 150.0
    """Milliseconds within which 95 % of requests are answered,"""
    p95_of_teacher: bool = True
    """or, if this is on, within which the teacher answers as many."""
    error_rate: Annotated[float, Gt(0), Lt(1)] | None = 0.005
    """Share of requests that fail stays below this."""
    saving: Annotated[float, Lt(1)] | None = 0.5
    """Share of the teacher's cost that is saved is above this."""
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def gate(self, measure: str) -> float | None:
        """The share asked of ``measure``; None where nothing is."""
        if measure in self.quality:
            return self.quality[measure]
        wide = [share for name, share in self.quality.items() if fnmatchcase(measure, name)]
        return max(wide, default=None)

    def as_json(self) -> dict[str, Any]:
        """As a file of criteria holds it."""
        return dataclasses.asdict(self)


def read(file: Path | None = None, given: Sequence[str] = ()) -> Criteria:
    """The guides' criteria, over them those of ``file``, over them ``NAME=VALUE`` as typed.

    ``nDCG@10=0.95`` names a measure, ``p95_ms=off`` asks nothing.

    Raises:
        UserError: anything unreadable, unknown, or out of its range.
    """
    values: dict[Any, Any] = {}
    where: str | Path = "--criterion"
    if file is not None:
        where, values = file, read_mapping(file, "criteria", "p95_ms: 150")
        checked(Criteria, values, file)
    for word in given:
        values = _with(values, word)
    typed = dict.fromkeys(_keys(given), "--criterion")
    return checked(Criteria, values, where, typed)


def _with(values: Mapping[Any, Any], word: str) -> dict[Any, Any]:
    name, equals, said = word.partition("=")
    if not equals or not name:
        raise UserError(
            f"{word!r} is no criterion",
            where="--criterion",
            mend="write p95_ms=150 or nDCG@10=0.95",
        )
    value = None if said.casefold() in _OFF else said
    plain = {item.name for item in dataclasses.fields(Criteria)} - {"quality"}
    if name in plain:
        return {**values, name: value}
    if hint := nearest(name, plain):
        raise UserError(f"no criterion is named {name!r}{hint}", where="--criterion")
    quality = {**values.get("quality", {"*": 0.93}), name: value}
    return {**values, "quality": {key: gate for key, gate in quality.items() if gate is not None}}


def _keys(given: Sequence[str]) -> list[str]:
    names = [word.partition("=")[0] for word in given]
    return [*names, *(f"quality.{name}" for name in names)]
