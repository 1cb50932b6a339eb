"""Text files and JSONL as streams of numbered lines, every fault named with its line."""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ragdistill.data.faults import Report
from ragdistill.errors import UserError

MAX_LINE = 8 << 20
"""Bytes of one line. Above what a document of the allowed size needs with every character escaped,
and what bounds the memory that a file without line ends can take."""

_PIECE = 1 << 16

_KINDS = {bool: "a boolean", str: "a string", list: "a list", dict: "an object", bytes: "bytes"}


class Row(NamedTuple):
    """One record and where it stands: a line of a file, or a row of a table, counted from 1."""

    source: str
    number: int
    values: Mapping[str, Any]

    @property
    def where(self) -> str:
        """``source:number``."""
        return f"{self.source}:{self.number}"


def kind(value: object) -> str:
    """What JSON calls the type of ``value``, with its article."""
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a number" if isinstance(value, int | float) else "another type")


def open_binary(path: Path) -> BinaryIO:
    """Open ``path`` for reading.

    Raises:
        UserError: it is missing, a folder, or may not be read.
    """
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise UserError("no such file", where=path) from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from error


def read_lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of every line of a UTF-8 file, its end included.

    Lines end in LF or CRLF only (U+2028 and its like stay inside); a byte order mark is dropped. A
    line that is too long, holds a NUL byte or is not UTF-8 is reported and comes as an empty one,
    so that the numbering holds.
    """
    with open_binary(path) as stream:
        yield from _lines_of(stream, str(path), report)


def _lines_of(stream: BinaryIO, name: str, report: Report) -> Iterator[tuple[int, str]]:
    offset = 0
    for number, (raw, length) in enumerate(_raw_lines(stream), 1):
        try:
            yield number, _decode(raw, f"{name}:{number}", offset)
        except UserError as fault:
            report(fault)
            yield number, ""
        offset += length


def _raw_lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each line, cut after ``MAX_LINE + 1`` bytes, and how many bytes it has in the file."""
    while line := stream.readline(MAX_LINE + 1):
        length = len(line)
        over = length > MAX_LINE and not line.endswith(b"\n")
        while over and (piece := stream.readline(_PIECE)):
            length += len(piece)
            over = not piece.endswith(b"\n")
        yield line, length


def _decode(raw: bytes, where: str, offset: int) -> str:
    """The text of one line that begins ``offset`` bytes into the file."""
    if len(raw) > MAX_LINE:
        raise UserError(
            f"a line of more than {MAX_LINE >> 20} MiB",
            where=where,
            mend="end each record with a line feed, and split documents over 1 MiB into passages",
        )
    if offset == 0 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            "not UTF-8 (it begins as UTF-16 does)",
            where=where,
            mend="convert it: iconv -f UTF-16 -t UTF-8",
        )
    if (place := raw.find(b"\0")) >= 0:
        raise UserError(
            f"a NUL byte (byte {offset + place} of the file)",
            where=where,
            mend="remove it: tr -d '\\000'",
        )
    try:
        return raw.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 (byte 0x{error.object[error.start]:02x},"
            f" at byte {offset + len(raw) - len(error.object) + error.start} of the file)",
            where=where,
            mend="convert it, for instance: iconv -f WINDOWS-1252 -t UTF-8",
        ) from error


def read_objects(path: Path, report: Report) -> Iterator[Row]:
    """The JSON objects of a JSONL file; blank lines are passed over, broken ones reported."""
    with open_binary(path) as stream:
        yield from objects_of(stream, str(path), report)


def objects_of(stream: BinaryIO, name: str, report: Report) -> Iterator[Row]:
    """As :func:`read_objects`, from an open stream that faults call ``name``."""
    for number, line in _lines_of(stream, name, report):
        if not line.strip():
            continue
        try:
            yield Row(name, number, _parse_object(line, f"{name}:{number}"))
        except UserError as fault:
            report(fault)


def _parse_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"broken JSON at column {error.colno}: {error.msg}",
            where=where,
            mend="each line must be one whole JSON object",
        ) from error
    except (ValueError, RecursionError) as error:  # an integer or a nesting too long to read
        raise UserError(f"broken JSON: {error}", where=where) from error
    if not isinstance(value, dict):
        raise UserError(
            f"the line is {kind(value)}, not an object",
            where=where,
            mend="each line must be one whole JSON object",
        )
    return value
