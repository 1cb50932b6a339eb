"""What the report says of models and data."""

from pathlib import Path
from typing import Any

from ragdistill.data.leakage import summary
from ragdistill.models.digest import digests
from ragdistill.training.preparing import parameters
from ragdistill.training.pruning import layer_list
from ragdistill_generator.setup import Setup
from ragdistill_generator.student import Student

_USAGE = """
from transformers import pipeline

answer = pipeline("text-generation", model="path/to/student")
context = "[1] The bridge was opened in 1932."
messages = [
    {{"role": "system", "content": {system!r}}},
    {{"role": "user", "content": f"Context:\\n{{context}}\\n\\nQuestion: When was it opened?{ends}"}},
]
print(answer(messages, max_new_tokens={tokens}, do_sample=False)[0]["generated_text"][-1]["content"])
"""


def describe_student(folder: Path, student: Student, setup: Setup) -> dict[str, Any]:
    """The report's entry of the student: its licence is that of the weights it began with."""
    base = setup.base
    layers = f"-L{len(layer_list(student.network))}" if setup.layers is not None else ""
    system, ends = setup.prompter.words
    return {
        "name": f"{base.name}{layers}",
        "digest": digests(folder).weights,
        "base": base.name,
        "base_model": base.alias.hub if base.alias else None,
        "library": "transformers",
        "pipeline_tag": "text-generation",
        "usage": _USAGE.format(
            system=system, ends=ends.replace("\n", "\\n"), tokens=setup.new_tokens
        ),
        "parameters": parameters(student.network),
        "size_mb": round(sum(p.stat().st_size for p in folder.glob("*.safetensors")) / 1e6, 3),
        "licence": base.licence,
    }


def describe_data(setup: Setup) -> dict[str, Any]:
    """The report's entry of what was measured on, with what was learnt from."""
    data, asked = setup.eval_collection, setup.eval_cases
    learnt = [case.question for case in setup.train_cases]
    return {
        "name": data.name,
        "digest": data.digest,
        "documents": len(data.documents),
        "queries": len(asked),
        "split": setup.split,
        "near_duplicates": summary(
            setup.near_duplicates, learnt, [case.question for case in asked]
        ),
        "contexts": {
            "from": setup.config.contexts_from or "judgments",
            "most": setup.config.contexts,
            "tokens_cut": setup.cut,
        },
        "train": {
            "name": setup.collection.name,
            "digest": setup.collection.digest,
            "questions": len(learnt),
            "learnt": len(setup.train_pairs),
            "answers": "gold" if setup.gold else "teacher",
            "left_out": setup.left_out,
        },
    }
