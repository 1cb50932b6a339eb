"""A folder in the layout of BEIR (Thakur et al., arXiv:2104.08663), read and checked in streams; and written.

``corpus.jsonl`` (``_id``, ``text``, ``title``), ``queries.jsonl`` (``_id``, ``text``, and where
known ``answers``, ``context_turns``, ``rewrite``, ``answerable``, ``rationale``), ``qrels/<split>.tsv``.
A folder with nothing but a corpus is fine. qrels may also be TREC's four columns, with or without a header.
"""

import json
import shutil
import tempfile
from collections.abc import Collection as Ids
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragdistill.data.collection import Collection, Document, Qrels, Query
from ragdistill.data.faults import Report, raise_fault
from ragdistill.data.lines import read_lines, read_objects
from ragdistill.data.records import Judgment, gather, judge, parse_document, parse_query, quoted
from ragdistill.errors import UserError

HEADER = ("query-id", "corpus-id", "score")
"""The first line of BEIR's qrels."""


def load(folder: Path, report: Report = raise_fault) -> Collection:
    """The collection in ``folder``; its name is the folder's.

    Raises:
        UserError: the first fault, where ``report`` is the default. Another ``report`` is given
            every fault, and what is returned is what was left without them.
    """
    documents: list[Document] = []
    document_ids: set[str] | None = None
    if _present(folder / "corpus.jsonl", report):
        rows = read_objects(folder / "corpus.jsonl", report)
        documents, document_ids = gather(rows, parse_document, report)
        if not document_ids:
            report(_empty(folder / "corpus.jsonl", "document"))
            document_ids = None  # that every judgment is of an unknown one, goes without saying
    queries: list[Query] = []
    query_ids: set[str] = set()
    if (folder / "queries.jsonl").exists():
        rows = read_objects(folder / "queries.jsonl", report)
        queries, query_ids = gather(rows, parse_query, report)
        if not query_ids:
            report(_empty(folder / "queries.jsonl", "query"))
    return Collection(
        name=folder.resolve().name,
        documents=tuple(documents),
        queries=tuple(queries),
        qrels=_load_qrels(folder, query_ids, document_ids, report),
        source=folder,
    )


def write(folder: Path, collection: Collection) -> None:
    """Leave ``collection`` in ``folder``, whole or not at all, in place of what was there. Where it came from
    such a folder, its corpus is not written again but linked, if the disk can."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / folder.name
        (made / "qrels").mkdir(parents=True)
        _put_corpus(made / "corpus.jsonl", collection)
        write_lines(made / "queries.jsonl", map(_query, collection.queries))
        for name, judged in collection.qrels.items():
            rows = (f"{q}\t{d}\t{grade}\n" for q, row in judged.items() for d, grade in row.items())
            text = "\t".join(HEADER) + "\n" + "".join(rows)
            (made / "qrels" / f"{name}.tsv").write_text(text, encoding="utf-8", newline="\n")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def _put_corpus(path: Path, collection: Collection) -> None:
    if collection.source is not None and (collection.source / path.name).is_file():
        with suppress(OSError):  # another disk, or one that has no links
            path.hardlink_to(collection.source / path.name)
            return
    rows = ({"_id": d.id, "title": d.title, "text": d.text} for d in collection.documents)
    write_lines(path, rows)


def _query(query: Query) -> dict[str, Any]:
    """A line of queries.jsonl: what is known of it."""
    known = {key: value for key, value in asdict(query).items() if value not in (None, ())}
    return {"_id": known.pop("id"), "text": query.text, **known}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSONL, one after the other as they come."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _present(path: Path, report: Report) -> bool:
    if path.exists():
        return True
    report(
        UserError(
            f"no {path.name} in this folder",
            where=path.parent,
            mend=f"write {path.name} with one JSON object a line: _id, text, and title if any; or"
            " make it from Markdown, text, HTML and PDF: ragdistill data import",
        )
    )
    return False


def _empty(path: Path, what: str) -> UserError:
    return UserError(f"no {what} in it", where=path, mend="each line is one JSON object: _id, text")


def _load_qrels(
    folder: Path, queries: Ids[str], documents: Ids[str] | None, report: Report
) -> dict[str, Qrels]:
    """Judgments by split: the names of the files without ``.tsv``."""
    found = folder / "qrels"
    if not found.exists():
        return {}
    files = sorted(path for path in found.glob("*.tsv") if path.is_file())
    if not files:
        report(UserError("no <split>.tsv", where=found, mend="add test.tsv or remove the folder"))
    if not (folder / "queries.jsonl").exists():
        report(
            UserError("qrels without queries.jsonl", where=folder, mend="add queries.jsonl beside")
        )
        return {}
    return {
        path.stem: judge(read_judgments(path, report), str(path), queries, documents, report)
        for path in files
    }


def read_judgments(path: Path, report: Report) -> Iterator[Judgment]:
    """The lines of a qrels file: ``query document grade`` (BEIR) or ``query 0 document grade``
    (TREC), between tabs or, where a line has none, blanks; the ids are not checked here."""
    seen = False
    for number, line in read_lines(path, report):
        fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
        first, seen = not seen and any(fields), seen or any(fields)
        if not any(fields) or (first and _is_header(fields)):
            continue
        if len(fields) not in (3, 4):
            report(_columns(f"{len(fields)} columns", f"{path}:{number}"))
        elif first and not fields[-1].lstrip("+-")[:1].isdigit():
            what = f"{quoted(' '.join(fields))} is neither a header nor a judgment"
            report(_columns(what, f"{path}:{number}"))
        else:
            yield Judgment(str(path), number, fields[0], fields[-2], fields[-1])


def _is_header(fields: list[str]) -> bool:
    return tuple(field.casefold().replace("_", "-") for field in fields) == HEADER


def _columns(what: str, where: str) -> UserError:
    return UserError(
        what, where=where, mend=f"expected three columns between tabs: {', '.join(HEADER)}"
    )
