"""What a stack may say of a reranker."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RerankerOptions:
    """How a model that is no student is read; as ``ragdistill reranker`` has it."""

    reading: Literal["likelihood", "yes-no"] | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    max_length: int | None = None
