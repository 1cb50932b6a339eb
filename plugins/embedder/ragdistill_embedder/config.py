"""What ``ragdistill embedder`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import option
from ragdistill.endpoint.options import EndpointConfig
from ragdistill.errors import UserError
from ragdistill.models.several import named

KEY_NAME = "OPENAI_API_KEY"
"""The environment variable that an endpoint's key is read from."""
STATIC = "static"
"""What ``--student`` calls a student without a transformer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedderConfig(EndpointConfig):
    """The embedder's options beside those of every component."""

    student_layers: str | None = option(
        "Keep N layers of the student model, evenly spread; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
    )
    student_hidden: Annotated[int, Gt(0)] | None = option(
        "Keep N dimensions of the student model's hidden states, and attention heads and feed-forward "
        "neurons in proportion: those that matter most on the training text.",
        affects="train",
        default=None,
        metavar="N",
    )
    student_intermediate: Annotated[int, Gt(0)] | None = option(
        "Keep N feed-forward neurons in each of the student's layers.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="in proportion to --student-hidden",
    )
    asymmetric: bool = option(
        "The student is for queries alone: they search the index that the teacher has made, and "
        "no document is embedded again.",
        affects="collect",
        default=False,
    )
    teacher_index: str | None = option(
        "With --asymmetric, the teacher's index of the documents that are searched, a folder as "
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
    lora: Annotated[int, Gt(0)] | None = option(
        "Train low-rank updates (LoRA) of rank R in place of all weights; they are merged into the "
        "student.",
        affects="train",
        default=None,
        metavar="R",
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
        sweep=True,
    )
    train_tokens: Annotated[int, Gt(0)] | None = option(
        "Stop training after N tokens in all, however many passes that is.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="1000000; a static student 8000000",
        sweep=True,
    )
    lr: Annotated[float, Gt(0)] | None = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=None,
        metavar="RATE",
        shown_default="0.001; a static student 0.003",
        sweep=True,
    )
    batch_tokens: Annotated[int, Gt(0)] | None = option(
        "Tokens per training step, padding included.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="1024; with mined texts 8192; a static student 12288",
    )
    chunk_tokens: Annotated[int, Gt(0)] = option(
        "With mined texts: tokens whose activations are held at once; larger steps are made of such "
        "parts (GradCache).",
        affects="train",
        default=1024,
        metavar="N",
    )
    negatives: Annotated[int, Gt(0), Le(20)] = option(
        "With mined texts: hard negatives of each text, from the 20 that the teacher holds for "
        "nearest.",
        affects="train",
        default=7,
        metavar="N",
    )
    temperature: Annotated[float, Gt(0), Le(100)] = option(
        "Of softmaxes over similarities.", affects="train", default=0.05, metavar="T"
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
    mteb: tuple[str, ...] = option(
        "Also measure teacher and student with mteb: its tasks by name, or folders in BEIR's layout, "
        "as SciFact,./ours (extra mteb).",
        affects="evaluate",
        default=(),
        metavar="TASKS",
    )
    report_to: str = option(
        "Also log training to these trackers, as tensorboard,wandb; files go to trackers/ of the run.",
        affects="report",
        default="none",
        metavar="LIST",
    )
    store_dtype: Literal["float16", "float32"] = option(
        "How vectors are kept in the store.",
        affects="collect",
        default="float16",
    )
    teacher: str = option(
        "Model that teaches: an alias, a Hub id, a local folder, or openai:NAME behind --teacher-url; "
        "several, as A,B, teach the weighted mean of their similarities.",
        affects="collect",
        metavar="MODEL",
    )
    teacher_weights: str | None = option(
        "How much each of several teachers counts, as 2,1.",
        affects="train",
        default=None,
        metavar="LIST",
        shown_default="chosen on held-out text",
    )
    ray: Annotated[int, Gt(0)] | None = option(
        "Have N workers of Ray Data run the teacher, with --device cuda on a GPU each: of the cluster "
        "in RAY_ADDRESS, else of this machine (extra ray).",
        affects="report",
        default=None,
        metavar="N",
    )
    teacher_url: str | None = option(
        "Address of an OpenAI-compatible endpoint, up to /v1, for a teacher openai:NAME.",
        affects="collect",
        default=None,
        metavar="URL",
    )
    teacher_key_env: str = option(
        "Environment variable that holds the endpoint's key; it is written down nowhere.",
        affects="report",
        default=KEY_NAME,
        metavar="VAR",
    )

    @property
    def teacher_name(self) -> str:
        """See ``RunConfig``: all of them, where there are several."""
        return "+".join(Path(name).name for name in named(self.teacher))

    @property
    def narrower(self) -> bool:
        """Whether the student is to have less width than the model it is made of."""
        return self.student_hidden is not None or self.student_intermediate is not None


def check_together(config: EmbedderConfig) -> None:
    """Refuse options that one by one are good, and together say nothing.

    Raises:
        UserError: naming one of them.
    """
    asks, shaped = config.asymmetric, (config.index, config.index_vectors) != ("flat", "float32")
    off, add = "leave it out", "add --asymmetric, or leave it out"
    whole = "the teacher's index has whole vectors, so its queries cannot be cut"
    several, one = len(named(config.teacher)) > 1, "name the one that has made it"
    documents = "mteb has the student embed documents, which an asymmetric one is not taught"
    for wrong, where, why, mend in (
        (config.teacher_index and not asks, "--teacher-index", "is searched by queries alone", add),
        (config.usd_per_hour and not asks, "--usd-per-hour", "prices what --asymmetric saves", add),
        (asks and config.dims, "--dims", whole, off),
        (asks and config.mteb, "--mteb", documents, off),
        (config.teacher_index and several, "--teacher", "an index is of one teacher", one),
        (config.teacher_index and shaped, "--index", "none is exported where one is brought", off),
    ):
        if wrong:
            raise UserError(why, where=where, mend=mend)
