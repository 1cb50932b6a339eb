"""Where the contexts of a question come from."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ragdistill.data.collection import Collection, Query
from ragdistill.errors import UserError
from ragdistill.first_stage import NONE, Candidates, Words, from_rankings
from ragdistill.metrics import trec
from ragdistill_generator.cases import Find, judged_contexts

BM25 = "bm25"
_Ranked = Callable[[Sequence[Query]], Candidates]


def finder(source: str | None, collection: Collection, most: int) -> Find:
    """What finds contexts in ``collection``, ``most`` of a question: BM25, somebody's ranking, or, without
    a ``source``, the judgments.

    Raises:
        UserError: there is no such run or file.
    """
    if source is None:
        return judged_contexts(collection, most)
    documents = [document.content for document in collection.documents]
    ranked = _by_words(documents, most) if source == BM25 else _by_run(source, collection, most)

    def find(queries: Sequence[Query]) -> list[list[str]]:
        if not queries:
            return []
        return [
            [documents[place] for place in row if place != NONE] for row in ranked(queries).places
        ]

    return find


def _by_words(documents: Sequence[str], most: int) -> _Ranked:
    stage = Words(documents)
    return lambda queries: stage.find([query.text for query in queries], most)


def ranking(source: str | None) -> Path | None:
    """The file that says which documents are the contexts, if one does."""
    if source is None or source == BM25:
        return None
    given = Path(source).expanduser()
    return given / "rankings" / "student.trec" if given.is_dir() else given


def _by_run(source: str, collection: Collection, most: int) -> _Ranked:
    path = ranking(source)
    if path is None or not path.is_file():
        raise UserError(
            "is no run that ranked documents, and no TREC run file",
            where=source,
            mend=f"name one, or {BM25}",
        )
    ids = [document.id for document in collection.documents]

    def ranked(queries: Sequence[Query]) -> Candidates:
        names = [query.id for query in queries]
        return from_rankings(trec.read(path), names, ids, most, path, least=1)

    return ranked
