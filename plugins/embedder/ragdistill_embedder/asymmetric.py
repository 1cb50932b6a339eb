"""A student for queries alone, measured on the teacher's own index."""

from pathlib import Path
from typing import Any

from ragdistill.data.training_texts import TrainText
from ragdistill.encoder import Encoder
from ragdistill.metrics.retrieval import quality, rank, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill_embedder.exporting import TaskVectors
from ragdistill_embedder.lesson import token_lengths
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.teacher_index import TeacherIndex

BOTH = "student-both"
"""The name of the rankings in which the student also embedded the documents."""


def section(
    folder: Path,
    setup: Setup,
    index: TeacherIndex,
    teacher: Rankings,
    vectors: TaskVectors,
    seconds: float,
    learner: Encoder,
) -> dict[str, Any]:
    """The report's ``asymmetric``: how the student does where it embeds the documents as well, and
    what not doing so saves; leaves ``rankings/student-both.trec``. An index of more documents than
    are evaluated on is not compared with.

    Args:
        index: the teacher's, which the student's queries search.
        seconds: that the student took to embed the documents on this machine.
    """
    task, price = setup.task, setup.config.usd_per_hour
    both = None
    if index.holds_just(task):  # else the two would search among different documents
        both = rank(task, vectors.queries, vectors.documents)
        write_rankings(folder, task, {BOTH: both})
    texts = [TrainText(text, "passage") for text in task.document_texts]
    return {
        "index": str(index.path) if index.path else "the teacher's stored vectors",
        "documents": len(index.ids),
        "dimensions": index.vectors.dimensions,
        "both_student": quality(task.qrels, teacher, both, setup.config.seed) if both else {},
        "re_embedding": {
            "documents": len(task.documents),
            "tokens": sum(token_lengths(learner, texts, setup.by_role)),
            "seconds": round(seconds, 3),
            "usd": None if price is None else seconds / 3600 * price,
        },
    }
