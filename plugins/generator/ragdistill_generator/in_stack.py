"""How a generator is distilled where it stands in a stack."""

from collections.abc import Mapping
from typing import Any

from ragdistill.rag.serving import Position


def distils(position: Position) -> Mapping[str, Any]:
    """As it is asked in the stack, from as many contexts, of those that the students before it find; where it
    is distilled apart, from the judged ones."""
    settings = position.stack.generation
    assert settings is not None
    options = {"contexts": settings.contexts, **position.said}
    if position.contexts is not None:
        options["contexts_from"] = str(position.contexts)
    elif position.awaited:
        options["contexts_from"] = "bm25"
    return options
