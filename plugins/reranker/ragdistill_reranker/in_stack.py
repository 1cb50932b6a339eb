"""How a reranker is distilled where it stands in a stack."""

from collections.abc import Mapping
from typing import Any

from ragdistill.rag.serving import Position

_BM25 = "bm25"


def distils(position: Position) -> Mapping[str, Any]:
    """As it is read in the stack, on as many documents, of those that the student embedder finds."""
    settings = position.stack.reranking
    assert settings is not None
    options = {"candidates": settings.k_in, "fuse": "on" if settings.fuse == "rrf" else "off"}
    return {**options, **position.said, **_candidates(position)}


def _candidates(position: Position) -> Mapping[str, Any]:
    """What finds them: the distilled embedder; its teacher, where each part is distilled apart; BM25 where the
    stack has no embedder, and in a plan that cannot know the embedder yet."""
    if {"first_stage", "candidates_from"} & position.given.keys():
        return {}
    if (run := position.runs.get("embedder")) is not None:
        return {"candidates_from": str(run)}
    if "embedder" in position.awaited:
        return {"first_stage": _BM25}
    return {"first_stage": position.teachers.get("embedder", _BM25)}
