"""``ragdistill rag watch``."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ragdistill.errors import UserError

if TYPE_CHECKING:
    from ragdistill.rag.watch import Thresholds, Watch

_FILE = click.Path(path_type=Path)
_STDIN = "<stdin>"
_KEEP = 1000
"""Lines after which the state is written, if nothing happened before."""


@click.command()
@click.argument("outcomes", type=_FILE, required=False)
@click.option("--state", type=_FILE, metavar="FILE", help="Where all that is known is kept.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever --state has.")
@click.option("--canary", type=click.Choice(["hours", "days"]),
              help="Roll out over 5, 10, 25, 50, 100 % of traffic, within a day or a week.")  # fmt: skip
@click.option("--warn", metavar="LOSS", help="Loss that is warned of.  [default: 0.02]")
@click.option("--roll-back", metavar="LOSS", help="Loss that ends it.  [default: 0.05]")
@click.option("--alpha", metavar="SHARE", help="False alarms of each test.  [default: 0.05]")
@click.option("--unbounded", is_flag=True, help="Scores are not from 0 to 1.")
@click.option("--drift", nargs=2, type=_FILE, metavar="REFERENCE RECENT",
              help="Vectors of queries then and now (.npy): are they still the same?")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the test of drift."
)
@click.option("--json", "as_json", is_flag=True, help="Print the state as JSON and nothing else.")
@click.pass_context
def watch(context: click.Context, /, outcomes: Path | None, **given: Any) -> None:
    """Continue, warn, roll back or promote: what a stream of OUTCOMES says of a student in service.

    OUTCOMES is JSONL (without it, stdin): "student" and "teacher" scores of one request, from 0 to 1,
    and where known "error", "latency_ms" and "time" (seconds since the epoch). Tests may be looked at
    after every line. Exit status 3: roll back.
    """
    shift = _drift(given["drift"], given["seed"]) if given["drift"] else None
    found = None
    if outcomes is not None or shift is None:
        found = _watched(outcomes, given)
    if given["as_json"]:
        told = {} if found is None else found.as_json()
        click.echo(json.dumps(told | ({} if shift is None else {"drift": shift}), indent=2))
    else:
        if found is not None:
            click.echo(_line(found))
        if shift is not None:
            click.echo(f"drift: {shift['advice']}")
    context.exit(3 if found is not None and found.decision() == "roll back" else 0)


def _drift(paths: tuple[Path, Path], seed: int) -> dict[str, Any]:
    from ragdistill.rag.drift import drift, read_vectors

    vectors = [read_vectors(path) for path in paths]
    try:
        return drift(vectors[0], vectors[1], seed).as_json()
    except ValueError as error:
        raise UserError(str(error), where="--drift", mend="embed both with one model") from error


def _thresholds(given: dict[str, Any]) -> "Thresholds":
    from ragdistill.mappings import checked
    from ragdistill.rag.watch import Thresholds

    loss = [given[key] if given[key] is not None else default
            for key, default in (("warn", 0.02), ("roll_back", 0.05))]  # fmt: skip
    values: dict[str, Any] = {"loss": loss, "bounded": not given["unbounded"]}
    if given["alpha"] is not None:
        values["alpha"] = given["alpha"]
    typed = {"loss": "--warn, --roll-back", "alpha": "--alpha"}
    found = checked(Thresholds, values, "command line", typed)
    if not found.loss[0] < found.loss[1]:
        raise UserError(
            f"a warning at {found.loss[0]:g} comes too late for {found.loss[1]:g}", where="--warn",
            mend="warn below --roll-back",
        )  # fmt: skip
    return found


def _watched(path: Path | None, given: dict[str, Any]) -> "Watch":
    """Read to the end; each new decision is told at once, on stderr."""
    from ragdistill.rag.outcomes import opened, outcomes, save

    thresholds, state = _thresholds(given), given["state"]
    name = _STDIN if path is None else str(path)
    with _stream(path) as stream:
        found = opened(state, thresholds, given["canary"], time.time(), anew=given["restart"])
        before = _line(found)
        done = found.lines.get(name, 0) if path is not None else 0
        try:
            for number, outcome, at in outcomes(stream, name, done, bounded=thresholds.bounded):
                found.add(outcome, time.time() if at is None else at)
                found.lines[name] = number
                changed = _line(found) != before
                if changed:
                    before = _line(found)
                    click.echo(f"{name}:{number}: {before}", err=True)
                if state is not None and (changed or number % _KEEP == 0):
                    save(state, found)
        finally:
            if state is not None and found.lines.get(name, 0) > done:
                save(state, found)
    return found


@contextmanager
def _stream(path: Path | None) -> Iterator[BinaryIO]:
    from ragdistill.data.lines import open_binary

    if path is None:
        yield sys.stdin.buffer
        return
    with open_binary(path) as stream:
        yield stream


def _line(found: "Watch") -> str:
    """The decision, the share of traffic, and why."""
    decision, reasons = found.decision(), found.reasons()
    share = ""
    if found.canary is not None:
        share = f", {found.canary.share:.0%} of traffic ({found.canary.status})"
    why = "; ".join(reason for reason, said in reasons.items() if said == decision)
    return f"{decision}{share}{f': {why}' if why else ''}"
