"""What each built-in part is told of where it stands in a stack; no model is opened."""

from pathlib import Path
from typing import Any

import pytest

from rag_helpers import write_stack
from ragdistill import Position, UserError
from ragdistill.rag.parts import announced
from ragdistill.rag.serving import Role
from ragdistill.rag.stack import read

RUN = Path("all/embedder")
TEACHERS: dict[Role, str] = {
    "embedder": "MiniLM",
    "reranker": "big",
    "rewriter": "chatty",
    "generator": "wordy",
}
PARTS: dict[str, Any] = {
    "rewriter": {"model": "chatty", "rewrite_tokens": 9, "precision": None},
    "embedder": {"model": "MiniLM", "index": "hnsw", "k": 30},
    "reranker": {"model": "big", "k_in": 7, "k_out": 5, "reading": "yes-no"},
    "generator": {"model": "wordy", "contexts": 4, "style": "cited"},
}


def told(folder: Path, role: Role, stack: dict[str, Any] | None = None, **known: Any) -> Any:
    said = {"given": {}, **known}
    file = write_stack(folder / "stack.yaml", **(PARTS if stack is None else stack))
    (serving,) = [each for each in announced()[role] if each.distils]
    return dict(serving.options_at(Position(role, read(file), TEACHERS, **said)))


def test_a_reranker_is_read_as_in_the_stack_and_reorders_what_students_find(tmp_path: Path) -> None:
    usual = {"candidates": 7, "fuse": "off", "reading": "yes-no"}
    assert told(tmp_path, "reranker", runs={"embedder": RUN}) == usual | {
        "candidates_from": str(RUN)
    }
    assert told(tmp_path, "reranker") == usual | {"first_stage": "MiniLM"}
    waits: dict[str, Any] = {"awaited": frozenset({"embedder"})}
    assert told(tmp_path, "reranker", **waits) == usual | {"first_stage": "bm25"}
    assert told(tmp_path, "reranker", given={"first_stage": "E5"}, runs={"embedder": RUN}) == usual
    fused = PARTS | {"reranker": {"model": "big", "fuse": "rrf"}}
    assert told(tmp_path, "reranker", fused)["fuse"] == "on"


def test_a_generator_reads_what_the_students_find(tmp_path: Path) -> None:
    usual = {"contexts": 4, "style": "cited"}
    assert told(tmp_path, "generator") == usual
    found = told(tmp_path, "generator", contexts=Path("all/contexts.trec"))
    assert found == usual | {"contexts_from": "all/contexts.trec"}
    waits: dict[str, Any] = {"awaited": frozenset({"reranker"})}
    assert told(tmp_path, "generator", **waits) == usual | {"contexts_from": "bm25"}


def test_a_rewriter_is_measured_with_the_student_embedder(tmp_path: Path) -> None:
    found = told(tmp_path, "rewriter", runs={"embedder": RUN})
    assert found == {"rewrite_tokens": 9, "embedder": str(RUN)}
    # Humans are not told how many tokens to write.
    assert told(tmp_path, "rewriter", given={"teacher": "human"}) == {}


def test_an_embedder_has_the_index_of_the_stack(tmp_path: Path) -> None:
    small: dict[str, Any] = {"given": {"student": "static"}}
    kept = {"index": "hnsw", "index_vectors": "float32"}
    assert told(tmp_path, "embedder", **small) == kept
    brought = PARTS | {"embedder": {"model": "MiniLM", "index": "old/index"}}
    assert told(tmp_path, "embedder", brought, **small) == {}
    prompted = PARTS | {"embedder": {"model": "MiniLM", "query_prompt": "q: "}}
    with pytest.raises(UserError, match="query_prompt is the stack's own"):
        told(tmp_path, "embedder", prompted)
