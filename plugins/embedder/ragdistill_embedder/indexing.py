"""The index of the documents that is exported, held against exact search."""

from typing import Any

from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.export.gates import INT8, Limits
from ragdistill.metrics.indexes import Coding, Kind, why_not
from ragdistill.metrics.retrieval import Task
from ragdistill.metrics.storage import Ground
from ragdistill_embedder.config import EmbedderConfig


def check(config: EmbedderConfig, dimensions: int, task: Task) -> None:
    """Refuse an index that cannot be built of the task's documents, before anything is begun.

    Args:
        dimensions: of the vectors that it is to hold.

    Raises:
        UserError: see ``ragdistill.metrics.indexes.why_not``.
    """
    if why := why_not(config.index, config.index_vectors, len(task.documents), dimensions):
        raise UserError(why, where="--index", mend="choose --index flat or hnsw")


def export_index(
    ground: Ground, kind: Kind, coding: Coding, *, encoder_digest: str, limits: Limits = INT8
) -> dict[str, Any]:
    """Write ``export/faiss``; the report's entry of it, from what is read back."""
    path = ground.folder / "export/faiss"
    ids = [document.id for document in ground.task.documents]
    faiss_index.write(
        ground.documents, ids, path, encoder_digest=encoder_digest, kind=kind, coding=coding
    )
    figures = ground.figures(faiss_index.load(path).vectors, "faiss")
    recall, difference = figures["recall_of_exact"], figures["ndcg_difference"]
    reasons = []
    if recall < limits.overlap_at_10:
        reasons.append(f"recall@10 of exact search {recall:.3f} < {limits.overlap_at_10}")
    if difference is not None and -difference > limits.ndcg_loss:
        reasons.append(f"nDCG@10 lost {-difference:.4f} > {limits.ndcg_loss}")
    return {
        "index": kind,
        "vectors": coding if kind != "ivfpq" else "pq",
        **figures,
        "reasons": reasons,
        "passed": not reasons,
    }
