"""What the watch reads and keeps: lines of outcomes, and its state."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from ragdistill.data.lines import Row, kind, objects_of
from ragdistill.errors import UserError
from ragdistill.files import write_json, writing
from ragdistill.rag.canary import Pace
from ragdistill.rag.watch import SCHEMA, Outcome, Thresholds, Watch, begun, restored

_ANEW = "name another --state, or give --restart to begin anew"


def outcomes(
    stream: BinaryIO, name: str, done: int, *, bounded: bool
) -> Iterator[tuple[int, Outcome, float | None]]:
    """Each line's number, outcome and time (seconds since the epoch, where it tells one).

    Args:
        name: what faults call the stream.
        done: lines that were read before, and are passed over.
        bounded: whether scores have to be from 0 to 1.

    Raises:
        UserError: a line that is no outcome; fewer lines than were read before.
    """
    last = 0
    for row in objects_of(stream, name, _refuse):
        last = row.number
        if row.number > done:
            yield row.number, _outcome(row, bounded), _number(row, "time")
    if last < done:
        raise UserError(f"has {last:,} lines, {done:,} were counted before", where=name, mend=_ANEW)


def _refuse(fault: UserError) -> NoReturn:
    raise fault


def _outcome(row: Row, bounded: bool) -> Outcome:
    student, teacher = (_score(row, key, bounded) for key in ("student", "teacher"))
    if (student is None) != (teacher is None):
        lacking = "student" if student is None else "teacher"
        raise UserError(
            f"half a pair: no {lacking!r}", where=row.where, mend="give the scores of both, or none"
        )
    error = row.values.get("error")
    if error is not None and not isinstance(error, bool):
        raise UserError(f"'error' must be true or false, not {kind(error)}", where=row.where)
    latency = _number(row, "latency_ms")
    if latency is not None and latency < 0:
        raise UserError(f"a latency of {latency:g} ms", where=row.where)
    if student is None and error is None and latency is None:
        raise UserError(
            "tells nothing of a request",
            where=row.where,
            mend="give 'student' and 'teacher', 'error' or 'latency_ms'",
        )
    return Outcome(student, teacher, error, latency)


def _score(row: Row, key: str, bounded: bool) -> float | None:
    value = row.values.get(key)
    score = float(value) if isinstance(value, bool) else _number(row, key)
    if score is not None and bounded and not 0 <= score <= 1:
        raise UserError(
            f"{key!r} is {score:g}, not from 0 to 1",
            where=row.where,
            mend="scale scores, or give --unbounded",
        )
    return score


def _number(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key!r} must be a number, not {kind(value)}", where=row.where)
    try:
        number = float(value)
    except OverflowError:  # an integer that no float holds
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{key!r} is {number}", where=row.where, mend="leave out what is not known")
    return number


def opened(
    path: Path | None, thresholds: Thresholds, pace: Pace | None, now: float, *, anew: bool
) -> Watch:
    """The watch whose state is in ``path``, or one that begins.

    Raises:
        UserError: the state is damaged, newer, or of a watch with other thresholds or another pace.
    """
    fresh = begun(thresholds, pace, now)
    if path is None or anew or not path.exists():
        return fresh
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        schema = state["schema"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise UserError(
                f"was written by a newer ragdistill (schema {schema}, known {SCHEMA})",
                where=path,
                mend="upgrade ragdistill",
            )
        watch = restored(state, thresholds)
        json.dumps(watch.as_json(), allow_nan=False)  # a ValueError if a figure is none
        known = state["thresholds"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("is no state of a watch, or damaged", where=path, mend=_ANEW) from error
    if known != json.loads(json.dumps(fresh.as_json()["thresholds"])):
        raise UserError("was begun with other thresholds", where=path, mend=_ANEW)
    if (watch.canary and watch.canary.pace) != pace:
        raise UserError("was begun with another --canary", where=path, mend=_ANEW)
    return watch


def save(path: Path, watch: Watch) -> None:
    """Write the state whole, or not at all."""
    with writing(path):
        write_json(path, watch.as_json())
