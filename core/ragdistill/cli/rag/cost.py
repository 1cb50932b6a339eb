"""``ragdistill rag cost``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdistill.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from ragdistill.rag.cost import Case, Outcome, Row
    from ragdistill.rag.prices import Prices

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--figures", type=_FILE, metavar="FILE", help="YAML of figures; docs/cost.md.")
@click.option("--run", "runs", multiple=True, metavar="RUN@MACHINE",
              help="A finished run: teacher and student as measured, on this machine.")  # fmt: skip
@click.option("--teacher", multiple=True, metavar="PART=SPEC", help="How a teacher is paid for.")
@click.option("--student", multiple=True, metavar="PART=SPEC", help="How a student is paid for.")
@click.option("--capture", multiple=True, metavar="[PART=]USD", help="Asking the teacher, once.")
@click.option("--training", multiple=True, metavar="[PART=]USD", help="Training, once.")
@click.option("--reindex", multiple=True, metavar="[PART=]USD", help="Embedding again, once.")
@click.option("--traffic", metavar="N", help="Requests a month.")
@click.option("--hit-rate", metavar="SHARE", help="Share that a cache answers.")
@click.option("--escalated", metavar="SHARE", help="Share that the teacher answers again.")
@click.option("--utilisation", metavar="SHARE", help="Load of a machine.  [default: 0.5]")
@click.option("--least", metavar="N", help="Machines of a part always up.  [default: 1]")
@click.option("--documents", metavar="N", help="Documents to be embedded again.")
@click.option("--months", metavar="N", help="How long the students serve.  [default: 12]")
@click.option("--prices", type=_FILE, metavar="FILE", help="Prices of yours, over the shipped.")
@click.option("--price", type=click.Choice(["low", "mean", "high"]), default="mean",
              show_default=True, help="Which of a range of prices counts.")  # fmt: skip
@click.option("--show-prices", is_flag=True, help="Print the shipped price file, to be edited.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def cost(**given: Any) -> None:
    """What a distilled stack costs against its teacher's, and when it has paid for itself.

    SPEC is usd:130 (for a million requests), api:NAME:1000+200 (tokens read and written a request),
    gpu:NAME:40 (requests a second on a machine), gpu:NAME:1200/200 (tokens a second, tokens an
    answer) or RUN@NAME. What is spent once is US dollars, gpu:NAME:HOURS or api:NAME:TOKENS.
    Nothing given: the example of the guides.
    """
    from ragdistill.rag import cost as reckoning
    from ragdistill.rag import figures, prices

    if given["show_prices"]:
        click.echo(prices.shipped(), nl=False)
        return
    known = prices.load(given["prices"], given["price"])
    told = figures.read(given["figures"], _typed(given), _runs(given["runs"]))
    case = figures.case_of(told, known)
    outcome = reckoning.reckon(case)
    if given["as_json"]:
        shown = {"prices": {"date": known.date.isoformat(), "point": known.point}}
        click.echo(json.dumps(shown | {"case": _told(case)} | outcome.as_json(), indent=2))
        return
    _show(case, outcome, known)


_PLAIN = ("traffic", "hit_rate", "escalated", "utilisation", "least", "documents", "months")
_ONCE = ("capture", "training", "reindex")


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, by keys of the file of figures."""
    plain = {key: given[key] for key in _PLAIN if given[key] is not None}
    parts: dict[str, dict[str, str]] = {}
    for key in ("teacher", "student", *_ONCE):
        for word in given[key]:
            name, equals, spec = word.partition("=")
            if not equals and key in _ONCE:
                plain[key] = word
            elif not equals or not name:
                raise UserError(
                    f"{word!r} names no part",
                    where=f"--{key}",
                    mend=f"write --{key} embedder=usd:1",
                )
            else:
                parts.setdefault(name, {})[key] = spec
    return plain | {"parts": parts}


def _runs(words: tuple[str, ...]) -> dict[str, str]:
    """``RUN@MACHINE`` by the component of the run."""
    from ragdistill.rag.measured import component

    found: dict[str, str] = {}
    for word in words:
        folder, at, _ = word.rpartition("@")
        if not at:
            raise UserError(f"{word!r} names no machine", where="--run", mend="write RUN@L4")
        name = component(Path(folder))
        if name in found:
            raise UserError(f"two runs are of a part {name!r}", where="--run", mend="keep one")
        found[name] = word
    return found


def _told(case: "Case") -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(case)


def _show(case: "Case", outcome: "Outcome", prices: "Prices") -> None:
    from rich.console import Console

    from ragdistill.report.tables import put

    console = Console(highlight=False, markup=False)
    for table in (_parts(outcome), _swings(outcome)):
        put(table, console)
    for line in _lines(case, outcome, prices):
        console.print(line, soft_wrap=True)


def _parts(outcome: "Outcome") -> "Table":
    from ragdistill.report import tables

    table = tables.table(
        "part", "teacher $/1M", "student $/1M", "teacher $/month", "student $/month", "saved $/month",
        "spent once $",
    )  # fmt: skip
    for name, row in [*outcome.parts.items(), ("all", outcome.together)]:
        table.add_row(name, *map(_usd, _cells(row)))
    return table


def _cells(row: "Row") -> tuple[float, ...]:
    import dataclasses

    return dataclasses.astuple(row)


def _swings(outcome: "Outcome") -> "Table":
    from ragdistill.report import tables

    table = tables.table("changed alone", "from", "to", "saved $/month", "", "break-even day", "")
    for swing in outcome.sensitivity:
        saved, days = map(_usd, swing.saving_month), map(_days, swing.break_even_days)
        table.add_row(swing.what, swing.low, swing.high, *saved, *days)
    return table


def _lines(case: "Case", outcome: "Outcome", prices: "Prices") -> list[str]:
    share = "unknown" if outcome.saving is None else f"{outcome.saving:.1%}"
    month = f"{_usd(outcome.together.saving_month)} US dollars a month"
    traffic = f"{case.traffic:,.0f} requests a month"
    lines = [f"saved: {share} of the teacher's cost, {month} at {traffic}"]
    if outcome.break_even_days is None:
        lines.append("break-even: never, for nothing is saved at this traffic")
    else:
        lines.append(
            f"break-even: day {_days(outcome.break_even_days)}, after "
            f"{outcome.break_even_requests:,.0f} requests"
        )
    if outcome.break_even_traffic is None:
        lines.append(f"break-even traffic: none within {case.months:g} months")
    else:
        lines.append(
            f"break-even traffic: {outcome.break_even_traffic:,.0f} requests a month pay for it within "
            f"{case.months:g} months"
        )
    teacher, student = outcome.whole_life
    roi = "unknown" if outcome.roi is None else f"{outcome.roi:.1f} times what is spent"
    lines.append(
        f"whole life ({case.months:g} months): teacher {_usd(teacher)}, student {_usd(student)} US "
        f"dollars; return {roi}"
    )
    lines.append(f"prices of {prices.date.isoformat()}, the {prices.point} of each range")
    return lines


def _usd(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _days(value: float | None) -> str:
    import math

    return "never" if value is None else f"{math.ceil(value):,}"
