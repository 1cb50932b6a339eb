"""The two stacks under load: the same requests from several threads at once, one stack after the other, each
in a process of its own.

Nothing comes from the cache but the vectors of documents. What was measured is kept there, so that the same
command says the same again; where a request failed it is measured anew.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdistill import alone
from ragdistill.data.collection import Query
from ragdistill.data.sampling import sample
from ragdistill.errors import UserError
from ragdistill.metrics.load import Served, figures
from ragdistill.metrics.retrieval import Task
from ragdistill.rag.cache import Cache, Said, request_key, said
from ragdistill.rag.cells import write_lines
from ragdistill.rag.matrix import Matrix, Results, digest
from ragdistill.rag.serving import SIDES, Side

if TYPE_CHECKING:
    from ragdistill.rag.compare import Comparison

FOLDER = "load"
TARGET = "ragdistill.rag.under_load:measured"
MOST, LEAST = 200, 4
"""Requests that a stack is asked at the most, drawn with the seed; where there are fewer queries than
``LEAST`` for each thread, they are asked again from the start."""


@dataclass(frozen=True)
class Load:
    """One stack under load."""

    threads: int
    queries: Sequence[str]
    """Ids, by the number of the request."""
    served: Sequence[Served]
    memory: Mapping[str, float | None]
    """See :func:`ragdistill.metrics.memory.peak_memory`: libraries, weights, indexes and requests."""

    def as_json(self) -> dict[str, Any]:
        """As the report has it."""
        errors = [each.error for each in self.served if each.error]
        return {
            "concurrency": self.threads,
            **figures(self.served),
            "first_error": errors[0] if errors else None,
            "memory": dict(self.memory),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A line for each request."""
        return [
            {
                "query": self.queries[each.number],
                "started": each.started,
                "seconds": each.seconds,
                "error": each.error or None,
            }
            for each in self.served
        ]


def requests(queries: Sequence[Query], threads: int, seed: int) -> list[Query]:
    """What either stack is asked."""
    chosen = sample(queries, MOST, seed, key=lambda query: query.id)
    count = max(len(chosen), LEAST * threads)
    return [chosen[number % len(chosen)] for number in range(count)]


def loads(asked: "Comparison", matrix: Matrix, task: Task, results: Results) -> dict[Side, Load]:
    """Both stacks under load, the teachers' first; what is kept of either is not measured again. Neither,
    where that was not asked for.

    Raises:
        UserError: a stack cannot be loaded, or fails on every request.
    """
    threads = asked.concurrency
    if threads is None:
        return {}
    queries = requests(task.queries, threads, asked.seed)
    folder = asked.cache or asked.out
    found: dict[Side, Load] = {}
    for side in SIDES:
        own = digest(matrix.stages[side])
        space = Cache(folder).requests(own)
        said_of = [[query.id, query.text, list(query.context_turns)] for query in queries]
        key = request_key("load", threads, matrix.parts[side].stack.device, said_of)
        known = said(space, [key]).get(key)
        if known is None:
            known = Said(_measured(asked, side, own, results, queries, threads), 0.0)
            if not any(Served(*row).error for row in known.value["served"]):
                with space.writer() as writer:
                    writer.append([key], [known.dumps()])
        served = [Served(*row) for row in known.value["served"]]
        names = [query.id for query in queries]
        found[side] = Load(threads, names, served, known.value["memory"])
    return found


def _measured(
    asked: "Comparison",
    side: Side,
    own: str,
    results: Results,
    queries: Sequence[Query],
    threads: int,
) -> dict[str, Any]:
    questions = {each.query.id: each.question for each in results.seen[results.pure(side)]}
    file = asked.teacher if side == "teacher" else asked.student
    said = {
        "stack": str(file),
        "digest": own,
        "data": asked.data,
        "eval_queries": asked.eval_queries,
        "seed": asked.seed,
        "cache": str(asked.cache or asked.out),
        "threads": threads,
        "requests": [[query.id, questions[query.id]] for query in queries],
    }
    try:
        told: dict[str, Any] = alone.call(TARGET, said)
    except alone.Died as error:
        if error.status > 0:  # it raised, and said so
            raise
        raise UserError(
            f"the process that put it under load {error}",
            where=file,
            mend="it may have run out of memory: lower --concurrency, or leave it out",
        ) from error
    errors = [Served(*row).error for row in told["served"]]
    if all(errors):
        raise UserError(
            f"fails on every request that {threads} threads ask at once: {errors[0]}",
            where=file,
            mend="leave --concurrency out, or serve that part otherwise",
        )
    return told


def write(folder: Path, found: Mapping[Side, Load]) -> None:
    """Leave ``load/SIDE.jsonl`` with the seconds of every request, and none of an earlier start."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for side, load in found.items():
        write_lines(folder / FOLDER / f"{side}.jsonl", load.rows())
