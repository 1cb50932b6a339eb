"""One record of a data set, checked and made a Document, a Query or a judgment."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from ragdistill.data.collection import Document, Query
from ragdistill.data.faults import Report
from ragdistill.data.lines import Row, kind
from ragdistill.errors import UserError

MAX_TEXT = 1 << 20
"""Bytes of UTF-8 in one text. Encoders read a few thousand tokens, so what is longer is a whole
book by mistake, and would be cut silently."""

_RATIONALE = ("rationale", "thinking")
_GRADE = re.compile(r"[+-]?[0-9]{1,9}(\.0+)?")


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Record = TypeVar("_Record", bound=_HasId)


class Judgment(NamedTuple):
    """One line of qrels as it stands in the data, not yet checked."""

    source: str
    number: int
    query: Any
    document: Any
    grade: Any


def quoted(value: object) -> str:
    """``value`` for an error message, on one line and cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def checked_text(value: object, name: str, where: str) -> str:
    """``value`` where it is a text that can be encoded, stored and hashed; it may be empty.

    Raises:
        UserError: no string, over 1 MiB, a NUL character, or half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise UserError(f"{name} must be a string, not {kind(value)}", where=where)
    if "\0" in value:
        raise UserError(f"{name} holds a NUL character", where=where, mend="remove it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise UserError(
            f"{name} holds half of a surrogate pair (character {error.start})",
            where=where,
            mend="write the character whole, as UTF-8",
        ) from error
    if size > MAX_TEXT:
        raise UserError(
            f"{name} has {size / MAX_TEXT:.1f} MiB, over the limit of 1 MiB",
            where=where,
            mend="split the document into passages, each with an _id of its own",
        )
    return value


def checked_id(value: object, name: str, where: str) -> str:
    """An identifier: a string, or an integer, which becomes a string.

    Raises:
        UserError: another type, empty, or with white space that the columns of qrels cannot hold:
            at an end, or other than blanks inside.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = checked_text(value, name, where)
    if not text:
        raise UserError(f"{name} is empty", where=where, mend="give each record an identifier")
    if " ".join(text.split()) != text:
        raise UserError(
            f"{name} {quoted(text)} holds white space other than single blanks inside",
            where=where,
            mend="write '_' in its place, in the qrels too",
        )
    return text


def checked_grade(value: object, where: str) -> int:
    """A relevance grade: an integer, also as text (``"1"``) or as a whole float (``1.0``).

    Raises:
        UserError: no whole number, or more than nine digits.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value).strip()
        if _GRADE.fullmatch(text):
            return int(text.partition(".")[0])
    raise UserError(
        f"the grade {quoted(value)} is no integer",
        where=where,
        mend="grades are 0 (not relevant), 1, 2, ...",
    )


def required(values: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of ``name``.

    Raises:
        UserError: there is none; the keys there are, are named.
    """
    if name in values:
        return values[name]
    keys = ", ".join(quoted(key) for key in list(values)[:8]) or "none"
    raise UserError(
        f"no {name!r} (keys found: {keys})",
        where=where,
        mend=f"add it, or rename its key to {name}",
    )


def _text_list(values: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = values.get(name)
    if found is None:
        return ()
    if not isinstance(found, list | tuple):
        raise UserError(f"{name!r} must be a list of strings, not {kind(found)}", where=where)
    return tuple(checked_text(text, f"an element of {name!r}", where) for text in found)


def parse_document(row: Row, identifier: str) -> Document:
    """The document of a row: ``text``, and ``title`` where there is one (null counts as none).

    Raises:
        UserError: a key missing or of a wrong type, a text over the limit, or nothing to read.
    """
    text = checked_text(required(row.values, "text", row.where), "'text'", row.where)
    found = row.values.get("title")
    title = "" if found is None else checked_text(found, "'title'", row.where)
    if not (text.strip() or title.strip()):
        raise UserError(
            f"document {quoted(identifier)} has neither text nor title",
            where=row.where,
            mend="remove the line or fill it",
        )
    return Document(identifier, text, title)


def parse_query(row: Row, identifier: str) -> Query:
    """The query of a row, with ``answers``, ``context_turns``, ``rewrite``, ``answerable`` and
    ``rationale`` (also called ``thinking``).

    Raises:
        UserError: a key missing or of a wrong type, a text over the limit or empty; a rationale twice.
    """
    values, where = row.values, row.where
    text = checked_text(required(values, "text", where), "'text'", where)
    if not text.strip():
        raise UserError(
            f"query {quoted(identifier)} is empty", where=where, mend="remove the line or fill it"
        )
    rewrite, answerable = values.get("rewrite"), values.get("answerable")
    if not isinstance(answerable, bool | None):
        raise UserError(f"'answerable' must be a boolean, not {kind(answerable)}", where=where)
    return Query(
        identifier,
        text,
        answers=_text_list(values, "answers", where),
        context_turns=_text_list(values, "context_turns", where),
        rewrite=None if rewrite is None else checked_text(rewrite, "'rewrite'", where),
        answerable=answerable,
        rationale=_rationale(values, where),
    )


def _rationale(values: Mapping[str, Any], where: str) -> str | None:
    """What leads to the answer, under either of its names."""
    found = {name: values[name] for name in _RATIONALE if values.get(name) is not None}
    if not found:
        return None
    if len(found) > 1:
        raise UserError(
            f"both {' and '.join(map(repr, found))} say what leads to the answer",
            where=where,
            mend="keep one of them",
        )
    ((name, told),) = found.items()
    return checked_text(told, repr(name), where) or None


def gather(
    rows: Iterable[Row], parse: Callable[[Row, str], _Record], report: Report
) -> tuple[list[_Record], set[str]]:
    """The records of ``rows`` in their order, and every ``_id`` seen, those of faulty ones too."""
    records: list[_Record] = []
    first: dict[str, int] = {}
    for row in rows:
        try:
            identifier = checked_id(required(row.values, "_id", row.where), "'_id'", row.where)
            if identifier in first:
                raise UserError(
                    f"duplicate _id {quoted(identifier)}, first in line {first[identifier]}",
                    where=row.where,
                    mend="give each record an _id of its own",
                )
            first[identifier] = row.number
            records.append(parse(row, identifier))
        except UserError as fault:
            report(fault)
    return records, set(first)


def judge(
    judgments: Iterable[Judgment],
    source: str,
    queries: Collection[str],
    documents: Collection[str] | None,
    report: Report,
) -> dict[str, dict[str, int]]:
    """Judgments by query id, each checked against the ids there are.

    ``documents`` is None where the corpus could not be read: then their ids are not checked.
    """
    qrels: dict[str, dict[str, int]] = {}
    for judgment in judgments:
        where = f"{judgment.source}:{judgment.number}"
        try:
            query = checked_id(judgment.query, "the query id", where)
            document = checked_id(judgment.document, "the document id", where)
            grade = checked_grade(judgment.grade, where)
            _check_known(query, queries, "query", where)
            if documents is not None:
                _check_known(document, documents, "document", where)
            if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
                raise UserError(
                    f"query {quoted(query)} and document {quoted(document)} are judged twice,"
                    f" {qrels[query][document]} and {grade}",
                    where=where,
                    mend="keep one of the two lines",
                )
        except UserError as fault:
            report(fault)
    if not any(grade > 0 for row in qrels.values() for grade in row.values()):
        report(
            UserError(
                "no relevant pair (a grade above 0)",
                where=source,
                mend="add judgments, or remove the file if there are none",
            )
        )
    return qrels


def _check_known(identifier: str, known: Collection[str], what: str, where: str) -> None:
    if identifier not in known:
        raise UserError(
            f"judges the unknown {what} {quoted(identifier)}",
            where=where,
            mend=f"add the {what}, or remove the line",
        )
