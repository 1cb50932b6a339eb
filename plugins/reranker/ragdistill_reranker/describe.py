"""What the report says of models and data."""

from pathlib import Path
from typing import Any

import numpy as np

from ragdistill.data.leakage import summary
from ragdistill.models.digest import digests
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training.preparing import parameters
from ragdistill_reranker.config import Kind
from ragdistill_reranker.lists import Findings, difficulty
from ragdistill_reranker.setup import Setup
from ragdistill_reranker.students import Student, size

_EXAMPLES = 20
_CLASSES: dict[Kind, tuple[str, str]] = {
    "colbert": ("MultiVectorEncoder", "sentence-similarity"),
    "bi-encoder": ("SentenceTransformer", "sentence-similarity"),
    "cross-encoder": ("CrossEncoder", "text-ranking"),
}
_APART = """
from sentence_transformers import {name}

student = {name}("path/to/student")
query = student.encode_query(["How do I read a file line by line?"])
documents = student.encode_document(["Open the file and iterate over it.", "Close the file."])
print(student.similarity(query, documents))
"""
_TOGETHER = """
from sentence_transformers import {name}

student = {name}("path/to/student")
query = "How do I read a file line by line?"
print(student.predict([(query, "Open the file and iterate over it."), (query, "Close the file.")]))
"""


def describe_teacher(setup: Setup) -> dict[str, Any]:
    """The report's entry of the teacher, and how its score is made."""
    each = [scorer.describe() for scorer in setup.scorers]
    whole = each[0] if len(each) == 1 else _together(each)
    return whole | {"scores": setup.blend.as_json()}


def _together(each: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "+".join(one["name"] for one in each),
        "digest": "+".join(one["digest"] for one in each),
        "licence": None,
        "outputs_may_train": "no"
        if any(one["outputs_may_train"] == "no" for one in each)
        else None,
        "members": each,
    }


def describe_student(
    name: str, folder: Path, student: Student, base: ResolvedModel
) -> dict[str, Any]:
    """The report's entry of the student: its licence is that of the weights it began with."""
    cls, tag = _CLASSES[student.kind]
    usage = _TOGETHER if student.kind == "cross-encoder" else _APART
    return {
        "name": name,
        "digest": digests(folder).weights,
        "base": base.name,
        "base_model": base.alias.hub if base.alias else None,
        "library": "sentence-transformers",
        "pipeline_tag": tag,
        "usage": usage.format(name=cls),
        "parameters": parameters(student.model),
        "size_mb": _megabytes(size(folder)),
        "licence": base.licence,
        "kind": student.kind,
    }


def describe_data(setup: Setup, findings: Findings) -> dict[str, Any]:
    """The report's entry of what was measured on, with what was learnt from."""
    task, collection, lists = setup.task, setup.eval_collection, setup.train_lists
    matches = setup.near_duplicates
    return {
        "name": collection.name,
        "digest": collection.digest,
        "documents": len(task.documents),
        "queries": len(task.queries),
        "split": task.split,
        "near_duplicates": None
        if matches is None
        else summary(matches, list(lists.queries), task.query_texts),
        "candidates": {
            "first_stage": setup.finder.judged_by,
            "depth": int(setup.eval_candidates.places.shape[1]),
            "train": setup.stage.name,
        },
        "train": {
            "name": setup.collection.name,
            "digest": setup.collection.digest,
            "pieces": sum(question.rest is not None for question in setup.questions),
            **_generated(setup),
            "difficulty": difficulty(setup.train_places, setup.train_candidates),
            **findings.as_json(),
            "suspicious": _suspicious(setup, findings),
        },
    }


def _generated(setup: Setup) -> dict[str, int]:
    """How many questions were written that train, and how many that do not."""
    if setup.asking is None:
        return {}
    kept = sum(question.generated for question in setup.questions)
    return {"generated": kept, "dropped": setup.asking.met - kept}


def _suspicious(setup: Setup, findings: Findings) -> list[dict[str, str]]:
    """Some of the pairs that were given as right, and that the teacher puts under all others."""
    documents, places = setup.collection.documents, setup.train_places
    return [
        {"query": setup.train_lists.queries[row][:200], "document": documents[places[row, 0]].id}
        for row in np.flatnonzero(findings.suspicious)[:_EXAMPLES]
    ]


def _megabytes(size: int) -> float:
    return round(size / 1e6, 3)
