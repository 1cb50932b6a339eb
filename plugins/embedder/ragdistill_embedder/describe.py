"""What the report says of models and data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdistill.data.leakage import summary
from ragdistill.models.digest import digests
from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel
from ragdistill_embedder.encoder import Encoder
from ragdistill_embedder.mining import judged_suspiciously
from ragdistill_embedder.student import parameters

if TYPE_CHECKING:
    from ragdistill_embedder.setup import Setup

_USAGE = """
from sentence_transformers import SentenceTransformer

student = SentenceTransformer("path/to/student")
queries = student.encode_query(["How do I read a file line by line?"])
documents = student.encode_document(["Open the file and iterate over it."])
print(student.similarity(queries, documents))
"""


def describe_model(model: ResolvedModel, encoder: Encoder) -> dict[str, Any]:
    """The report's entry of a resolved model."""
    licence = licence_of(model.alias, model.path)
    return {
        "name": model.name,
        "digest": model.weights_digest,
        "revision": model.revision,
        "parameters": parameters(encoder.model),
        "dimensions": encoder.dimensions,
        "size_mb": _megabytes(sum(p.stat().st_size for p in model.path.glob("*.safetensors"))),
        "licence": licence.name,
        "outputs_may_train": licence.outputs_may_train,
        "terms": licence.terms,
    }


def describe_student(
    name: str, folder: Path, learner: Encoder, base: ResolvedModel
) -> dict[str, Any]:
    """The report's entry of the student: its licence is that of the weights it began with."""
    return {
        "name": name,
        "digest": digests(folder).weights,
        "base": base.name,
        "base_model": base.alias.hub if base.alias else None,
        "library": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "usage": _USAGE,
        "parameters": parameters(learner.model),
        "dimensions": learner.dimensions,
        "size_mb": _megabytes((folder / "model.safetensors").stat().st_size),
        "licence": base.licence,
    }


def describe_data(setup: "Setup") -> dict[str, Any]:
    """The report's entry of what was measured on, with the audit of what was learnt from."""
    task, collection = setup.task, setup.eval_collection
    learnt, matches = [item.text for item in setup.texts], setup.near_duplicates
    return {
        "name": collection.name,
        "digest": collection.digest,
        "documents": len(task.documents),
        "queries": len(task.queries),
        "split": task.split,
        "near_duplicates": None if matches is None else summary(matches, learnt, task.query_texts),
        "suspicious_positives": judged_suspiciously(setup),
        "train": {
            "name": setup.collection.name,
            "digest": setup.collection.digest,
            "texts": len(learnt),
        },
    }


def _megabytes(size: int) -> float:
    return round(size / 1e6, 3)
