"""How an endpoint is asked for vectors: as https://platform.openai.com/docs/api-reference/embeddings says."""

from collections.abc import Callable

from ragdistill.endpoint.address import Service
from ragdistill.endpoint.asking import Request
from ragdistill.endpoint.client import LEAST_BYTES, Question
from ragdistill_embedder.endpoint import reply
from ragdistill_embedder.endpoint.reply import Vectors

EMBEDDINGS = Service("openai:", "/embeddings", model="bge-m3", url="https://api.openai.com/v1")
TOO_MUCH = (
    "if a text is too long for it, cut texts with --max-length; if they are too many at once, ask for "
    "fewer with --teacher-batch"
)
_VECTOR_BYTES = 1 << 19
"""Allowed of each vector in an answer."""


def put(request: Request, check: Callable[[Vectors], None]) -> Question[Vectors]:
    """The question for the vectors of a request's texts, ``[b, d]``, which ``check`` may refuse."""
    texts = request.texts
    return Question(
        wish={"input": texts, "encoding_format": "float"},
        ask=request.ask,
        read=lambda body: reply.parse(body, len(texts)),
        check=check,
        most_bytes=LEAST_BYTES + len(texts) * _VECTOR_BYTES,
    )
