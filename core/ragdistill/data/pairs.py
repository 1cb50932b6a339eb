"""Pairs of a query and a text that answers it: JSONL, CSV or Parquet made a collection.

Each distinct text is one document, each distinct query one query, each row one judgment. Ids are
digests of the texts, so that they stay the same when rows are added or change places.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ragdistill.data.collection import Collection, Document, Query
from ragdistill.data.faults import Report, raise_fault
from ragdistill.data.lines import MAX_LINE, Row, read_lines, read_objects
from ragdistill.data.records import Judgment, checked_text, judge, quoted, required
from ragdistill.errors import UserError

COLUMNS = (
    ("query", "positive"),
    ("anchor", "positive"),
    ("query", "document"),
    ("query", "passage"),
    ("query", "answer"),
    ("question", "context"),
    ("question", "answer"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
)
"""Columns taken for query and document: the first two of these that the first row has."""

GRADES = ("score", "label")
"""Columns taken for the relevance grade, 1 where there is none."""

SPLITS = ("train", "dev", "validation", "test")
"""File names that say which split the pairs are; pairs of any other file are ``test``."""


def load(path: Path, report: Report = raise_fault) -> Collection:
    """The collection in a ``.jsonl``, ``.csv`` or ``.parquet`` file of pairs (see :data:`COLUMNS`).

    Raises:
        UserError: the first fault, where ``report`` is the default; see
            :func:`ragdistill.data.beir.load`.
    """
    readers = {".jsonl": read_objects, ".csv": read_csv, ".parquet": read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"no format of data has the suffix {path.suffix!r}",
            where=path,
            mend=f"give a folder in BEIR's layout, or pairs in {', '.join(readers)}",
        )
    split = path.stem if path.stem in SPLITS else "test"
    return collect({split: reader(path, report)}, str(path), path.stem, path, report)


def collect(
    splits: Mapping[str, Iterable[Row]],
    where: str,
    name: str,
    source: Path | None,
    report: Report = raise_fault,
) -> Collection:
    """The collection made of rows of pairs, by split; ``where`` names them in an error.

    Raises:
        UserError: as :func:`load`.
    """
    documents: dict[str, Document] = {}
    queries: dict[str, Query] = {}
    qrels = {}
    for split, rows in splits.items():
        judgments = list(_judgments(rows, documents, queries, report))
        if not judgments:
            report(UserError(f"no pair in {split!r}", where=where, mend="each row is one pair"))
            continue
        qrels[split] = judge(judgments, where, queries, documents, report)
    return Collection(name, tuple(documents.values()), tuple(queries.values()), qrels, source)


def _judgments(
    rows: Iterable[Row], documents: dict[str, Document], queries: dict[str, Query], report: Report
) -> Iterator[Judgment]:
    """One judgment a row; its texts are added to ``documents`` and ``queries``.

    Raises:
        UserError: the first row has no known columns, whatever ``report``: nothing is to go past.
    """
    columns: tuple[str, str] | None = None
    for row in rows:
        columns = columns or choose_columns(row)
        try:
            query_text, document_text = (_filled(row, name) for name in columns)
        except UserError as fault:
            report(fault)
            continue
        query = Query(f"q-{_digest(query_text)}", query_text)
        document = Document(f"d-{_digest(document_text)}", document_text)
        queries.setdefault(query.id, query)
        documents.setdefault(document.id, document)
        grade = next((row.values[name] for name in GRADES if name in row.values), 1)
        yield Judgment(row.source, row.number, query.id, document.id, grade)


def choose_columns(row: Row) -> tuple[str, str]:
    """The names of the query's and the document's column in ``row``.

    Raises:
        UserError: it has none of :data:`COLUMNS`.
    """
    for pair in COLUMNS:
        if pair[0] in row.values and pair[1] in row.values:
            return pair
    if "_id" in row.values and "text" in row.values:
        mend = "to load a corpus, name the folder that holds it as corpus.jsonl"
    else:
        mend = f"use one of {', '.join('/'.join(pair) for pair in COLUMNS)}"
    names = ", ".join(quoted(name) for name in list(row.values)[:8]) or "none"
    raise UserError(f"no pair of columns (found: {names})", where=row.where, mend=mend)


def _filled(row: Row, name: str) -> str:
    text = checked_text(required(row.values, name, row.where), repr(name), row.where)
    if not text.strip():
        raise UserError(f"{name!r} is empty", where=row.where, mend="remove the row or fill it")
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_csv(path: Path, report: Report) -> Iterator[Row]:
    """The rows of a CSV file with a header, numbered by the line that each ends on."""
    with _long_fields():
        lines = csv.reader((line for _, line in read_lines(path, report)), strict=True)
        try:
            header = next((fields for fields in lines if fields), [])
            if len(set(header)) < len(header):
                raise UserError("two columns of one name", where=path, mend="rename one")
            for fields in lines:
                if not fields:
                    continue
                if len(fields) == len(header):
                    row = dict(zip(header, fields, strict=True))
                    yield Row(str(path), lines.line_num, row)
                else:
                    what = f"{len(fields)} fields, but the header has {len(header)}"
                    mend = "quote the fields that hold commas"
                    report(UserError(what, where=f"{path}:{lines.line_num}", mend=mend))
        except csv.Error as error:
            mend = "check that every quote is closed, and doubled inside a field"
            where = f"{path}:{lines.line_num}"
            report(UserError(f"broken CSV: {error}", where=where, mend=mend))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields as long as a document may be; the module's own limit is 128 KiB."""
    before = csv.field_size_limit(MAX_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(path: Path, report: Report) -> Iterator[Row]:
    """The rows of a Parquet file, batch by batch, with the columns that pairs need."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            known = {name for pair in COLUMNS for name in pair} | set(GRADES)
            names = [name for name in file.schema_arrow.names if name in known]
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=names or None):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        mend = "write the file anew, with texts as UTF-8 strings"
        report(UserError(f"cannot be read as Parquet: {error}", where=path, mend=mend))
