"""The built-in data set ``pydocs``: the documentation of the Python that is running.

It needs no download, so everything can be tried for real on a fresh, offline machine. Its splits:

- ``train`` and ``test``: known-item queries, made from the docstrings themselves (see
  ``pydocs_corpus.build``), after the known-item retrieval of Azzopardi, de Rijke and Balog (SIGIR
  2007) with the author's own summary as the query. One in three is for training.
- ``questions``: questions as a programmer would ask them, written by hand for this project, with
  the right entries and a short answer.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ragdistill.data.entries import DatasetEntry
from ragdistill.data.sampling import rank
from ragdistill.errors import UserError
from ragdistill.hookspecs import hookimpl

if TYPE_CHECKING:
    from ragdistill.data.collection import Collection, Qrels

QUESTIONS = Path(__file__).with_name("pydocs_questions.jsonl")
_log = logging.getLogger(__name__)


class Question(NamedTuple):
    """A hand-written question: the entries that answer it, and short answers that are right."""

    id: str
    text: str
    entries: tuple[str, ...]
    answers: tuple[str, ...]


def questions() -> Iterator[Question]:
    """The hand-written questions, in file order."""
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Question(row["_id"], row["text"], tuple(row["entries"]), tuple(row["answers"]))


def load() -> "Collection":
    """The documentation of the running Python as a collection; the same on every call.

    About 6,500 documents, 2,000 known-item queries (splits ``train`` and ``test``) and all hand-written
    questions whose entries this Python has (split ``questions``). Takes about 3 seconds on one core.

    Raises:
        UserError: the standard library's sources are not where this Python says they are.
    """
    from ragdistill.data.collection import Collection, Query
    from ragdistill.data.pydocs_corpus import build
    from ragdistill.data.pydocs_source import library, source_path

    if source_path("json") is None:
        raise UserError(
            "the sources of the standard library are not here, so there is no pydocs",
            where=library(),
            mend="use a Python that is installed with its library as .py files",
        )
    asked = tuple(questions())
    corpus = build(whole=(entry for question in asked for entry in question.entries))
    known = [(f"known:{name}", name, text) for name, text in corpus.known_items.items()]
    queries = [Query(query_id, text) for query_id, _, text in known]
    judged: dict[str, dict[str, int]] = {}
    for question in asked:
        found = {corpus.canonical[e]: 1 for e in question.entries if e in corpus.canonical}
        if not found:
            _log.info("pydocs: this Python documents nothing that answers %s", question.id)
            continue
        queries.append(Query(question.id, question.text, question.answers))
        judged[question.id] = found
    qrels: dict[str, Qrels] = {
        split: {query_id: {name: 1} for query_id, name, _ in known if _trains(name) is trains}
        for split, trains in (("train", True), ("test", False))
    }
    if judged:
        qrels["questions"] = judged
    return Collection("pydocs", corpus.documents, tuple(queries), qrels)


def _trains(name: str) -> bool:
    """Whether the known-item query of the entry ``name`` is for training: by its hash, so that another
    Python with other entries has the rest in the same splits."""
    return rank(0, f"train {name}")[0] % 3 == 0


@hookimpl
def ragdistill_datasets() -> Iterable[DatasetEntry]:
    """Announce ``pydocs``, and its small part with conversations."""
    return [
        DatasetEntry(
            name="pydocs",
            summary="documentation of the running Python: docstrings and language reference",
            licence="PSF-2.0",
            address="ragdistill.data.pydocs:load",
        ),
        DatasetEntry(
            name="pydocs-turns",
            summary="2,000 entries of pydocs, with hand-written questions and conversations made by rule",
            licence="PSF-2.0",
            address="ragdistill.data.pydocs_turns:load",
        ),
    ]
