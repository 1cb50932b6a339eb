"""What a stack finds for questions that are to be learnt from: its own rewrites and rankings, as files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ragdistill.data import beir
from ragdistill.data.collection import Collection, Query
from ragdistill.data.sampling import sample
from ragdistill.data.splits import choose
from ragdistill.errors import UserError
from ragdistill.metrics import trec
from ragdistill.rag.cache import Cache
from ragdistill.rag.matrix import stages_of
from ragdistill.rag.parts import open_parts
from ragdistill.rag.pipeline import Seen
from ragdistill.rag.retrieval import Corpus
from ragdistill.rag.stack import read


def asked_of(
    collection: Collection, train_items: int | None, eval_queries: int | None, seed: int
) -> list[Query]:
    """The questions that a generator learns from and is measured on, drawn as it draws them.

    Raises:
        UserError: nothing is judged for evaluation.
    """
    _, judged = choose(collection)
    held = {query for split, rows in collection.qrels.items() if split != "train" for query in rows}
    train = collection.qrels.get("train", {}).keys() - held
    learnt = [query for query in collection.queries if query.id in train]
    measured = [query for query in collection.queries if query.id in judged]
    return [
        *sample(learnt, train_items, seed, key=lambda query: query.id),
        *sample(measured, eval_queries, seed, key=lambda query: query.id),
    ]


def find(stack: Path, collection: Collection, queries: Sequence[Query], cache: Path) -> list[Seen]:
    """What the stack in the file ``stack`` makes of ``queries``; what it said before is kept below ``cache``.

    Raises:
        UserError: a part cannot be opened, or fails on a query.
    """
    parts, seen = open_parts(read(stack)), [Seen(query, query.text) for query in queries]
    kept = Cache(cache)
    for _, stage in stages_of(parts, Corpus.of(collection.documents), kept):
        seen = stage.run(seen, kept)
        stage.close()
    for each in seen:
        if each.error:
            raise UserError(each.error, where=f"{stack}: query {each.query.id!r}")
    return seen


def write(seen: Sequence[Seen], collection: Collection, folder: Path, ranking: Path) -> None:
    """Leave in ``folder`` the collection as a generator of the stack meets it, with questions as they were
    rewritten, and in ``ranking`` what was found for them (TREC); those for which nothing was, are left out.

    Raises:
        UserError: nothing was found for any.
    """
    found = {each.query.id: each for each in seen if each.ranked}
    if not found:
        raise UserError(
            "the distilled parts find no document for any question",
            where=collection.source or collection.name,
            mend="see what their reports say",
        )
    asked = tuple(
        replace(query, text=found[query.id].question, context_turns=(), rewrite=None)
        for query in collection.queries
        if query.id in found
    )
    qrels = {
        split: {query: row for query, row in rows.items() if query in found}
        for split, rows in collection.qrels.items()
    }
    told = {split: rows for split, rows in qrels.items() if rows}
    beir.write(folder, replace(collection, queries=asked, qrels=told))
    trec.write(ranking, {name: each.ranked for name, each in found.items()}, "students")
