"""The student as it is served: ONNX in fp32 and int8, each held against the student itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from ragdistill.files import atomic_path
from ragdistill_embedder.encoder import Encoder
from ragdistill_embedder.evaluating import Task, Vectors
from ragdistill_embedder.texts import Role

_VECTORS = "vectors/student.safetensors"


@dataclass(frozen=True, slots=True)
class TaskVectors:
    """Unit vectors of a task's queries ``[q, d]`` and documents ``[n, d]``."""

    queries: Vectors
    documents: Vectors


def encode_task(encoder: Encoder, task: Task, prompts: Mapping[Role, str]) -> TaskVectors:
    """A task's texts through ``encoder``."""
    return TaskVectors(
        queries=encoder.encode(task.query_texts, prompts["query"]),
        documents=encoder.encode(task.document_texts, prompts["passage"]),
    )


def keep_vectors(folder: Path, vectors: TaskVectors) -> None:
    """Leave the student's vectors for the stages that compare with them."""
    with atomic_path(folder / _VECTORS) as path:
        save_file({"queries": vectors.queries, "documents": vectors.documents}, str(path))


def kept_vectors(folder: Path) -> TaskVectors:
    """What :func:`keep_vectors` left."""
    return TaskVectors(**load_file(str(folder / _VECTORS)))
