"""What a stack may say of an embedder."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EmbedderOptions:
    """Unless given, the prompts are those of the run or of the model."""

    query_prompt: str | None = None
    """What goes before a query; an empty one says that nothing does."""
    passage_prompt: str | None = None
