"""What the report says of models and data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragdistill.data.collection import Query
from ragdistill.data.leakage import summary
from ragdistill.models.digest import digests
from ragdistill.training.preparing import parameters
from ragdistill.training.pruning import layer_list
from ragdistill_query_rewriter.config import HUMAN
from ragdistill_query_rewriter.expand_setup import ExpandSetup
from ragdistill_query_rewriter.sequences import SequenceStudent
from ragdistill_query_rewriter.setup import Setup
from ragdistill_query_rewriter.term_setup import TermSetup
from ragdistill_query_rewriter.terms import TermStudent

_USAGE = """
from ragdistill_query_rewriter.rewriter import Rewriter

rewriter = Rewriter.load("path/to/student")
turns = ["Who founded Zappa Records?", "Frank Zappa founded it in 1977."]
print(rewriter.rewrite(turns, "When did he die?"))
"""


def describe_teacher(setup: Setup) -> dict[str, Any]:
    """The report's entry of the teacher."""
    if setup.writer is not None:
        return setup.writer.describe()
    return {"name": HUMAN, "digest": None, "parameters": None, "licence": None}


def describe_student(folder: Path, student: TermStudent, setup: TermSetup) -> dict[str, Any]:
    """The report's entry of the student: its licence is that of the weights it began with."""
    base = setup.base
    kept = len(layer_list(student.network.base_model))
    layers = f"-L{kept}" if setup.config.student_layers else ""
    return {
        "name": f"{base.name}{layers}-{setup.config.student}",
        "digest": digests(folder).weights,
        "base": base.name,
        "base_model": base.alias.hub if base.alias else None,
        "library": "transformers",
        "pipeline_tag": "token-classification",
        "usage": _USAGE,
        "parameters": parameters(student.network),
        "size_mb": round(sum(p.stat().st_size for p in folder.glob("*.safetensors")) / 1e6, 3),
        "licence": base.licence,
        "kind": setup.config.student,
        "threshold": student.settings.threshold,
    }


_EXPANDS = """
from ragdistill_query_rewriter.rewriter import Rewriter

rewriter = Rewriter.load("path/to/student")
print(rewriter.rewrite([], "aerofoil pressure distribution"))
"""


def describe_writer(folder: Path, student: SequenceStudent, setup: ExpandSetup) -> dict[str, Any]:
    """The report's entry of a student that writes."""
    base, settings = setup.base, student.settings
    layers = f"-L{len(layer_list(student.network))}" if setup.config.student_layers else ""
    return {
        "name": f"{setup.base_name}{layers}-{settings.student}",
        "digest": digests(folder).weights,
        "base": setup.base_name,
        "base_model": base.alias.hub if base and base.alias else None,
        "library": "transformers",
        "pipeline_tag": "text-generation"
        if settings.student == "causal"
        else "text2text-generation",
        "usage": _EXPANDS,
        "parameters": parameters(student.network),
        "size_mb": round(sum(p.stat().st_size for p in folder.glob("*.safetensors")) / 1e6, 3),
        "licence": base.licence if base else None,
        "kind": settings.student,
        "combine": settings.combine,
        "new_tokens": settings.new_tokens,
    }


def describe_data(setup: Setup) -> dict[str, Any]:
    """The report's entry of what was measured on, with what was learnt from."""
    task, data = setup.task, setup.eval_collection
    learnt = setup.learnt
    return {
        "name": data.name,
        "digest": data.digest,
        "documents": len(task.documents),
        "queries": len(task.queries),
        "split": task.split,
        "near_duplicates": summary(setup.near_duplicates, _whole(learnt), _whole(task.queries)),
        "openings": sum(not query.context_turns for query in task.queries),
        "train": {
            "name": setup.collection.name,
            "digest": setup.collection.digest,
            **setup.describe_learnt(),
            "chosen_on": len(setup.chosen),
        },
    }


def _whole(queries: Sequence[Query]) -> list[str]:
    return [" ".join([*query.context_turns, query.text]) for query in queries]
