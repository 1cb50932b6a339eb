"""What ``ragdistill reranker`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import option
from ragdistill.endpoint.options import EndpointConfig
from ragdistill.errors import UserError
from ragdistill.models.several import named

KEY_NAME = "RERANK_API_KEY"
"""The environment variable that an endpoint's key is read from."""
Kind = Literal["colbert", "bi-encoder", "cross-encoder"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RerankerConfig(EndpointConfig):
    """The reranker's options beside those of every component."""

    teacher: str = option(
        "Model that scores pairs of a query and a document: a cross-encoder or a language model, by alias, "
        "Hub id, folder or GGUF file, or rerank:NAME behind --teacher-url; several, as A,B, teach their "
        "calibrated sum.",
        affects="collect",
        metavar="MODEL",
    )
    student: Kind = option(  # noqa: RUF009 - a literal type
        "What the student is: a vector of each token (late interaction), one vector of each text, or "
        "query and document read together.",
        affects="collect",
        default="colbert",
    )
    student_model: str | None = option(
        "Model that the student is made of.",
        affects="collect",
        default=None,
        metavar="MODEL",
        shown_default="MiniLM; of a cross-encoder the teacher, if that is one",
    )
    student_layers: str | None = option(
        "Keep N layers of it, evenly spread; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
    )
    student_intermediate: Annotated[int, Gt(0)] | None = option(
        "Keep N feed-forward neurons in each of its layers.",
        affects="train",
        default=None,
        metavar="N",
    )
    token_dims: Annotated[int, Gt(0)] | None = option(
        "Dimensions of a token's vector (colbert).",
        affects="train",
        default=None,
        metavar="N",
        shown_default="as many as its model has",
    )
    query_length: Annotated[int, Gt(2)] | None = option(
        "Tokens after which a query is cut (colbert).",
        affects="train",
        default=None,
        metavar="N",
        shown_default="32",
    )
    document_length: Annotated[int, Gt(2)] | None = option(
        "Tokens after which a document is cut (colbert).",
        affects="train",
        default=None,
        metavar="N",
        shown_default="300, or what its model reads if that is less",
    )
    query_expansion: bool = option(
        "Fill queries up to their length with mask tokens, which are compared, too (colbert).",
        affects="train",
        default=False,
    )
    reading: Literal["likelihood", "yes-no"] | None = option(
        "How a language model scores: by the likelihood of the query given the document, or by the "
        "odds of yes against no.",
        affects="collect",
        default=None,
        shown_default="likelihood; yes-no of rerankers",
    )
    precision: Literal["float32", "bfloat16"] | None = option(
        "In what a language model computes.",
        affects="collect",
        default=None,
        shown_default="bfloat16 where the processor has it, else float32",
    )
    fuse: Literal["auto", "on", "off"] = option(
        "Whether the first stage's score counts as a teacher's, too; auto: with language models.",
        affects="collect",
        default="auto",
    )
    teacher_weights: str | None = option(
        "How much each of several teachers counts, and last the first stage if it is fused, as 2,1.",
        affects="collect",
        default=None,
        metavar="LIST",
        shown_default="fitted on judged training queries; alike where those are few",
    )
    first_stage: str | None = option(
        "What finds candidates: bm25, or an embedder.",
        affects="collect",
        default=None,
        metavar="bm25|MODEL",
        shown_default="the student's model if that is an embedder, else bm25",
    )
    candidates_from: str | None = option(
        "Candidates that the reranker will really meet: the run of a distilled embedder, or a TREC run "
        "file (of the judged queries; others then have those of --first-stage).",
        affects="collect",
        default=None,
        metavar="RUN|FILE",
    )
    candidates: Annotated[int, Ge(2)] = option(
        "Documents of each query that are reranked.", affects="collect", default=20, metavar="N"
    )
    ways: Annotated[int, Ge(2)] = option(
        "Documents in a list that is learnt from: the positive, hard, medium and random ones.",
        affects="collect",
        default=16,
        metavar="N",
    )
    train_items: Annotated[int, Ge(2)] | None = option(
        "Learn from at most N lists, drawn with the seed.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="400 of a language model, else 2000",
    )
    questions: Literal["pieces", "generated"] = option(
        "What is asked of documents beside the queries of a train split: pieces of them, or what a "
        "language model that teaches writes for them.",
        affects="collect",
        default="pieces",
    )
    max_length: Annotated[int, Gt(0)] | None = option(
        "Cut pairs after N tokens (cross-encoder teachers).",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="the teacher's",
    )
    epochs: Annotated[float, Gt(0)] | None = option(
        "Passes over the lists.",
        affects="train",
        default=None,
        metavar="N",
        shown_default="by student",
        sweep=True,
    )
    lr: Annotated[float, Gt(0)] | None = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=None,
        metavar="RATE",
        shown_default="by student",
        sweep=True,
    )
    batch_lists: Annotated[int, Gt(0)] = option(
        "Lists in a training step.", affects="train", default=4, metavar="N", sweep=True
    )
    in_batch: Annotated[float, Ge(0)] = option(
        "Weight of a contrast with the documents of the other lists of a step, which nobody has scored "
        "(not of cross-encoders).",
        affects="train",
        default=0.0,
        metavar="WEIGHT",
        sweep=True,
    )
    chunk_tokens: Annotated[int, Gt(0)] = option(
        "Tokens, padding included, whose activations are held at once; larger steps are made of such "
        "parts (GradCache).",
        affects="train",
        default=8192,
        metavar="N",
    )
    temperature: Annotated[float, Gt(0), Le(100)] = option(
        "Of softmaxes over a list, on both sides.",
        affects="train",
        default=1.0,
        metavar="T",
        sweep=False,
    )
    margin: Annotated[float, Ge(0)] = option(
        "With --method hinge: how much further than the teacher the student sets the positive apart.",
        affects="train",
        default=0.3,
        metavar="M",
    )
    token_coding: Literal["float32", "float16", "int8", "binary", "residual", "pq"] = option(
        "How the index of token vectors that is exported keeps them (colbert).",
        affects="export",
        default="int8",
    )
    teacher_url: str | None = option(
        "Address of an endpoint that answers POST /rerank as Cohere's and Jina's do, for a teacher "
        "rerank:NAME.",
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
    teacher_scale: Literal["logit", "probability", "log-likelihood", "cosine"] | None = option(
        "On what scale an endpoint's scores are; probabilities are taught as log-odds.",
        affects="collect",
        default=None,
        shown_default="told by what it says",
    )
    report_to: str = option(
        "Also log training to these trackers, as tensorboard,wandb; files go to trackers/ of the run.",
        affects="report",
        default="none",
        metavar="LIST",
    )

    @property
    def smaller(self) -> bool:
        """Whether the student is less than the model that it is made of."""
        return self.student_layers is not None or self.student_intermediate is not None

    @property
    def teacher_name(self) -> str:
        """See ``RunConfig``: all of them, where there are several."""
        return "+".join(Path(name).name for name in named(self.teacher))


def check_together(config: RerankerConfig) -> None:
    """Refuse options that one by one are good, and together say nothing.

    Raises:
        UserError: naming one of them.
    """
    colbert = config.student == "colbert"
    for wrong, where, why, mend in (
        *(
            (
                given and not colbert,
                where,
                f"a {config.student} has no vectors of tokens",
                "leave it out, or give --student colbert",
            )
            for given, where in (
                (config.token_dims, "--token-dims"),
                (config.query_length, "--query-length"),
                (config.document_length, "--document-length"),
                (config.query_expansion, "--query-expansion"),
            )
        ),
        (
            config.in_batch > 0 and config.student == "cross-encoder",
            "--in-batch",
            "a cross-encoder would have to read every query with every document of a step",
            "leave it out, or give --student colbert or bi-encoder",
        ),
    ):
        if wrong:
            raise UserError(why, where=where, mend=mend)
