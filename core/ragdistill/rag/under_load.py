"""One stack loaded and asked by several threads, as :mod:`ragdistill.alone` calls it: in a process that has
loaded nothing else, so that what is taken is the stack's."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ragdistill.data.collection import Query
from ragdistill.data.loading import load
from ragdistill.errors import UserError
from ragdistill.metrics.load import Served, ask
from ragdistill.metrics.memory import peak_memory
from ragdistill.metrics.retrieval import make_task
from ragdistill.progress import track
from ragdistill.rag.cache import Cache
from ragdistill.rag.matrix import digest, stages_of
from ragdistill.rag.parts import open_parts
from ragdistill.rag.pipeline import Seen, Stage
from ragdistill.rag.retrieval import Corpus
from ragdistill.rag.serving import Role
from ragdistill.rag.stack import read
from ragdistill.rag.stages import RerankingStage


def measured(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Open a stack, load it, and ask it.

    Args:
        asked: ``stack`` (its file) and ``digest`` (what it has to be), ``data``, ``eval_queries`` and
            ``seed``, ``cache`` (the folder below which document vectors are), ``threads``, and
            ``requests``: the ids of the queries that are asked, each with the question that retrieval
            sees of it.

    Returns:
        ``served``, a row for each request (see :class:`~ragdistill.metrics.load.Served`), and ``memory``:
        what all this took beyond what Python and the data had taken before.

    Raises:
        UserError: a part cannot be opened or loaded, or is no longer what it was.
    """
    task = make_task(load(asked["data"]), limit=asked["eval_queries"], seed=asked["seed"])
    corpus, known = Corpus.of(task.documents), {query.id: query for query in task.queries}
    queries = [known[name] for name, _ in asked["requests"]]
    served: list[Served] = []

    def work() -> None:
        parts = open_parts(read(Path(asked["stack"])))
        stages = dict(stages_of(parts, corpus, Cache(Path(asked["cache"]))))
        if digest(stages) != asked["digest"]:
            raise UserError("has changed meanwhile", where=asked["stack"], mend="compare again")
        for stage in stages.values():
            stage.load()
        _prepare(stages, dict(asked["requests"]), known)
        with track(f"under load ({parts.stack.name})", len(queries)) as advance:
            served.extend(
                ask(
                    lambda number: _serve(list(stages.values()), queries[number]),
                    len(queries),
                    threads=asked["threads"],
                    done=lambda: advance(1, 0),
                )
            )

    memory = peak_memory(work)
    return {"served": [astuple(each) for each in served], "memory": memory}


def _serve(stages: Sequence[Stage], query: Query) -> Seen:
    """A whole request, nothing of it from the cache."""
    seen = Seen(query, query.text)
    for stage in stages:
        seen = stage.take(seen, stage.answer(seen))
    return seen


def _prepare(
    stages: Mapping[Role, Stage], questions: Mapping[str, str], known: Mapping[str, Query]
) -> None:
    """Have the reranker make what it makes of documents before it is asked, of those that will come."""
    reranking = stages.get("reranker")
    if not isinstance(reranking, RerankingStage):
        return
    texts: dict[str, None] = {}
    for name, question in questions.items():
        seen = Seen(known[name], known[name].text)
        with suppress(Exception):  # the request fails, too, and is counted then
            if (rewriting := stages.get("rewriter")) is not None:
                seen = rewriting.take(seen, question)
            seen = stages["embedder"].take(seen, stages["embedder"].answer(seen))
        texts |= dict.fromkeys(reranking.texts(seen))
    reranking.prepare(list(texts))
