"""What the report says of models and data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdistill.data.leakage import summary
from ragdistill.encoder import Encoder
from ragdistill.metrics import retrieval
from ragdistill.metrics.trec import Rankings
from ragdistill.models.digest import digests
from ragdistill.models.licences import licence_of
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training.preparing import parameters
from ragdistill_embedder.mining import judged_suspiciously

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


def rankings_of(setup: "Setup") -> tuple[str, ...]:
    """The files in which several teachers leave what each finds by itself."""
    count = len(setup.sources)
    return tuple(f"rankings/{name}.trec" for name in _names(count)) if count > 1 else ()


def _names(count: int) -> list[str]:
    return [f"teacher-{number}" for number in range(1, count + 1)]


def describe_teacher(folder: Path, setup: "Setup", together: Rankings) -> dict[str, Any]:
    """The report's entry of the teacher; of several also what each is, how much it counts, and what
    it finds by itself against all ``together``."""
    found = setup.teacher.describe()
    if len(setup.sources) == 1:
        return found
    task, panel = setup.task, []
    for place, name in enumerate(_names(len(setup.sources))):
        alone = retrieval.rank(
            task,
            setup.said(place, task.query_texts, "query"),
            setup.said(place, task.document_texts, "passage"),
        )
        retrieval.write_rankings(folder, task, {name: alone})
        entry = setup.sources[place].describe() | {"weight": setup.weights[place]}
        quality = retrieval.quality(task.qrels, together, alone, setup.config.seed)
        panel.append(entry | {"rankings": f"rankings/{name}.trec", "quality": quality})
    return found | {"panel": panel}


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
