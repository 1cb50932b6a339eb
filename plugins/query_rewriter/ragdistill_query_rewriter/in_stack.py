"""How a query rewriter is distilled where it stands in a stack."""

from collections.abc import Mapping
from typing import Any

from ragdistill.rag.serving import Position
from ragdistill_query_rewriter.config import HUMAN


def distils(position: Position) -> Mapping[str, Any]:
    """As it is asked in the stack; what its rewrites find is also measured with the student embedder."""
    # Humans are told nothing of how a language model is asked.
    human = position.given.get("teacher") == HUMAN
    options = {} if human else dict(position.said)
    if (run := position.runs.get("embedder")) is not None:
        options["embedder"] = str(run)
    return options
