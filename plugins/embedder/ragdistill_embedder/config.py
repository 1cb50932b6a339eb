"""What ``ragdistill embedder`` can be told."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Gt

from ragdistill.config import RunConfig, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedderConfig(RunConfig):
    """The embedder's options beside those of every component."""

    student_layers: str | None = option(
        "Keep N layers of the student model, evenly spread; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
    )
    dims: str | None = option(
        "Matryoshka: vectors that may be cut after so many dimensions, as 384,256,128,64; the largest "
        "number is what the student's vectors have.",
        affects="train",
        default=None,
        metavar="LIST",
    )
    max_length: Annotated[int, Gt(0)] | None = option(
        "Cut texts after N tokens.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="the teacher's",
    )
    epochs: Annotated[float, Gt(0)] = option(
        "Passes over the training text.", affects="train", default=4.0, metavar="N"
    )
    train_tokens: Annotated[int, Gt(0)] = option(
        "Stop training after N tokens in all, however many passes that is.",
        affects="train",
        default=1_000_000,
        metavar="N",
    )
    lr: Annotated[float, Gt(0)] = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=1e-3,
        metavar="RATE",
    )
    batch_tokens: Annotated[int, Gt(0)] = option(
        "Tokens per training step, padding included.", affects="train", default=1024, metavar="N"
    )
    store_dtype: Literal["float16", "float32"] = option(
        "How vectors are kept in the store.",
        affects="collect",
        default="float16",
    )
