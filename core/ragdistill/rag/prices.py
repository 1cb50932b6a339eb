"""What machines and endpoints cost: a dated file that people edit, over one that is shipped."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Gt, Len

from ragdistill.errors import UserError, nearest
from ragdistill.mappings import checked, parse_mapping, read_mapping

HOURS_PER_MONTH = 730
"""Hours of a twelfth of a year, as cloud providers bill one."""

Usd = Annotated[float, Ge(0)]
Paid = Annotated[float, Gt(0)]
Range = Paid | Annotated[tuple[Paid, Paid], Len(2, 2)]
Point = Literal["low", "mean", "high"]
_STRICT: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False}
_SPOT = "-spot"
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class Machine:
    """US dollars; a pair is the cheapest and the dearest provider."""

    usd_per_hour: Range | None = None
    spot_usd_per_hour: Range | None = None
    usd_per_month: Range | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True)
class Api:
    """US dollars for a million tokens."""

    read: Usd
    written: Usd | None = None
    """None where tokens of answers cost what those of requests do."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def usd(self, read: float, written: float = 0.0) -> float:
        """What so many tokens cost."""
        dear = self.read if self.written is None else self.written
        return (read * self.read + written * dear) / 1e6


@dataclass(frozen=True)
class Prices:
    """A price file."""

    date: date
    """When they were looked up."""
    machines: dict[str, Machine] = field(default_factory=dict)
    apis: dict[str, Api] = field(default_factory=dict)
    requests: dict[str, Usd] = field(default_factory=dict)
    """US dollars for a million requests."""
    point: Point = "mean"
    """Which of a range counts."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def hour(self, name: str, where: str) -> float:
        """US dollars for an hour of a machine; ``NAME-spot`` is its spot price.

        Raises:
            UserError: there is no such machine, or no such price of it.
        """
        spot = name not in self.machines and name.endswith(_SPOT)
        machine = _named(
            self.machines, name.removesuffix(_SPOT) if spot else name, "machine", where
        )
        if spot:
            hourly, monthly = machine.spot_usd_per_hour, None
        else:
            hourly, monthly = machine.usd_per_hour, machine.usd_per_month
        if hourly is not None:
            return self._one(hourly)
        if monthly is not None:
            return self._one(monthly) / HOURS_PER_MONTH
        raise UserError(
            f"the price of {name!r} is not known", where=where, mend="give it in a --prices file"
        )

    def api(self, name: str, where: str) -> Api:
        """The price of an endpoint's tokens; UserError where it is not known."""
        return _named(self.apis, name, "API", where)

    def million(self, name: str, where: str) -> float:
        """US dollars for a million requests; UserError where the name is not known."""
        return _named(self.requests, name, "price of requests", where)

    def _one(self, price: Range) -> float:
        if not isinstance(price, tuple):
            return price
        return {"low": price[0], "mean": (price[0] + price[1]) / 2, "high": price[1]}[self.point]


def shipped() -> str:
    """The text of the price file that comes along, to be edited."""
    return files("ragdistill.rag").joinpath("prices.yaml").read_text(encoding="utf-8")


def load(file: Path | None = None, point: Point = "mean") -> Prices:
    """The shipped prices, and over them, name by name, those of ``file``, whose date then counts.

    Raises:
        UserError: ``file`` cannot be read, lacks its date, has an unknown key, or a price that is
            below 0, no number, or a range that goes down.
    """
    known = _parsed(parse_mapping(shipped(), "prices.yaml", "prices", ""), "prices.yaml")
    if file is not None:
        own = _parsed(read_mapping(file, "prices", "date: 2026-03-01"), file)
        merged: dict[str, Any] = {
            table: {**getattr(known, table), **getattr(own, table)}
            for table in ("machines", "apis", "requests")
        }
        known = replace(own, **merged)
    return replace(known, point=point)


def _parsed(values: Mapping[Any, Any], where: str | Path) -> Prices:
    if "point" in values:
        raise UserError("unknown key 'point'", where=where, mend="say --price")
    found = checked(Prices, values, where)
    for name, machine in found.machines.items():
        prices = (machine.usd_per_hour, machine.spot_usd_per_hour, machine.usd_per_month)
        for price in prices:
            if isinstance(price, tuple) and price[0] > price[1]:
                raise UserError(
                    f"the range {list(price)} of {name!r} goes down",
                    where=where,
                    mend="write the lower price first",
                )
    return found


def _named(table: Mapping[str, _Entry], name: str, what: str, where: str) -> _Entry:
    if name in table:
        return table[name]
    raise UserError(
        f"no {what} is named {name!r}{nearest(name, table)}",
        where=where,
        mend=f"choose from {', '.join(table)}, or add it to a --prices file",
    )
