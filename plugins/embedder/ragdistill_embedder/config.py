"""What ``ragdistill embedder`` can be told."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Gt

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
    asymmetric: bool = option(
        "The student is for queries alone: they search the index that the teacher has made, and "
        "no document is embedded again.",
        affects="collect",
        default=False,
    )
    teacher_index: str | None = option(
        "With --asymmetric: the teacher's index of the documents that are searched, a folder as "
        "export/faiss, a FAISS file or an .npy file of vectors (ids of rows in ids.json beside it).",
        affects="evaluate",
        default=None,
        metavar="PATH",
        shown_default="the teacher's stored vectors",
    )
    usd_per_hour: Annotated[float, Ge(0)] | None = option(
        "Price of this machine; the report then tells in money what it tells in hours.",
        affects="evaluate",
        default=None,
        metavar="USD",
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
    epochs: Annotated[float, Gt(0)] | None = option(
        "Passes over the training text.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="4; a static student 12",
    )
    train_tokens: Annotated[int, Gt(0)] | None = option(
        "Stop training after N tokens in all, however many passes that is.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="1000000; a static student 8000000",
    )
    lr: Annotated[float, Gt(0)] = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=1e-3,
        metavar="RATE",
    )
    batch_tokens: Annotated[int, Gt(0)] | None = option(
        "Tokens per training step, padding included.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="1024; a static student 12288",
    )
    index: Literal["flat", "hnsw", "ivfpq"] = option(
        "FAISS index of the documents that is exported: exact, a graph, or cells with product "
        "quantisation.",
        affects="export",
        default="flat",
    )
    index_vectors: Literal["float32", "float16", "int8", "binary"] = option(
        "How the exported index keeps vectors; ivfpq has codes of its own.",
        affects="export",
        default="float32",
    )
    store_dtype: Literal["float16", "float32"] = option(
        "How vectors are kept in the store.",
        affects="collect",
        default="float16",
    )
