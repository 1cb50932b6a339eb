"""Rankings and judgments as the text files that every tool of the field reads.

A run file holds ``query Q0 document rank score tag`` per line, a qrels file ``query 0 document
grade`` (trec_eval's formats). trec_eval ignores both the order of the lines and the rank: it sorts
by score, which it keeps as a *float32*, and breaks ties by document id. Scores are therefore
written such that they strictly decrease as float32, so that no reader can see another order.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import numpy as np

from ragdistill.data.collection import Qrels
from ragdistill.errors import UserError
from ragdistill.files import atomic_path

_T = TypeVar("_T", int, float)

Rankings = Mapping[str, Sequence[tuple[str, float]]]
"""Query id to (document id, score), best first."""

# White space separates columns, and so cannot be part of an id. A percent sign is escaped only
# where it would read as an escape, so that nearly every id is written as it is.
_UNWRITABLE = re.compile(r"\s|%(?=[0-9A-Fa-f]{2})")
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = np.finfo(np.float32).tiny  # below it, code compiled with -ffast-math sees zero


def strictly_decreasing(ranking: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """``ranking`` with each score rounded to float32 and, where needed, below the one before.

    The order stays; a tie is broken in favour of the better rank by one float32 step.

    Raises:
        ValueError: a score rises along the ranking.
        UserError: a score is NaN or infinite.
    """
    lowered: list[tuple[str, float]] = []
    previous, bound = math.inf, np.float32(np.inf)
    for document, score in ranking:
        if not math.isfinite(score):
            raise UserError(
                f"document {document!r} was scored {score}, so it cannot be ranked",
                mend="the model that ranked is broken: train again with a lower learning rate",
            )
        if score > previous:
            raise ValueError(f"ranking is not best first: {document!r} has {score} > {previous}")
        previous = score
        bound = min(np.float32(score), _below(bound))
        lowered.append((document, float(bound)))
    return lowered


def _below(score: np.float32) -> np.float32:
    """The next float32 below ``score`` that is not subnormal."""
    lower = np.nextafter(score, np.float32(-np.inf))
    if abs(lower) >= _SMALLEST:
        return np.float32(lower)
    return np.float32(0 if score > 0 else -_SMALLEST)


def write(path: Path, rankings: Rankings, tag: str) -> None:
    """Write a TREC run file, atomically; ids with white space are percent-escaped.

    Raises:
        UserError: a score is NaN or infinite.
        ValueError: a ranking is not best first, or names one document twice.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for query, ranking in rankings.items():
            if len({document for document, _ in ranking}) != len(ranking):
                raise ValueError(f"query {query!r} ranks one document twice")
            for rank, (document, score) in enumerate(strictly_decreasing(ranking), start=1):
                # Nine significant digits tell any two float32 apart.
                row = f"{_escape(query)} Q0 {_escape(document)} {rank} {score:.9g} {_escape(tag)}"
                stream.write(row + "\n")


def read(path: Path) -> dict[str, list[tuple[str, float]]]:
    """Read a TREC run file in trec_eval's order: by score as float32, ties by falling document id.

    Raises:
        UserError: no such file, or a line that is not six columns, or a score that is no number.
    """
    rankings: dict[str, list[tuple[str, float]]] = {}
    for number, columns in _rows(path, columns=6):
        score = _number(columns[4], float, f"{path}:{number}")
        if not abs(score) <= _LARGEST:
            raise UserError(f"the score {columns[4]!r} ranks nothing", where=f"{path}:{number}")
        rankings.setdefault(unquote(columns[0]), []).append((unquote(columns[2]), score))
    for ranking in rankings.values():
        ranking.sort(key=lambda row: (np.float32(row[1]), row[0]), reverse=True)
    return rankings


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write judgments in TREC's four columns, atomically; ids escaped as in :func:`write`."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for query, grades in qrels.items():
            for document, grade in grades.items():
                stream.write(f"{_escape(query)} 0 {_escape(document)} {grade}\n")


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read what :func:`write_qrels` wrote.

    Raises:
        UserError: no such file, or a line that is not four columns, or a grade that is no integer.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, columns in _rows(path, columns=4):
        grade = _number(columns[3], int, f"{path}:{number}")
        qrels.setdefault(unquote(columns[0]), {})[unquote(columns[2])] = grade
    return qrels


def _escape(identifier: str) -> str:
    return _UNWRITABLE.sub(lambda match: quote(match[0], safe=""), identifier)


def _rows(path: Path, columns: int) -> list[tuple[int, list[str]]]:
    """Line number and columns of each line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be read: {reason}", where=path) from error
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, row in rows:
        if len(row) != columns:
            raise UserError(
                f"{len(row)} columns where a TREC file has {columns}", where=f"{path}:{number}"
            )
    return rows


def _number(text: str, kind: Callable[[str], _T], where: str) -> _T:
    try:
        return kind(text)
    except ValueError:
        name = "an integer" if kind is int else "a number"
        raise UserError(f"{text!r} is not {name}", where=where) from None
