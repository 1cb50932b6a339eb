"""What ``ragdistill query-rewriter`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import option
from ragdistill.endpoint.options import EndpointConfig
from ragdistill.errors import UserError

HUMAN = "human"
"""The teacher that has written already: the data's own rewrites."""
KEY_NAME = "OPENAI_API_KEY"
"""The environment variable that an endpoint's key is read from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewriterConfig(EndpointConfig):
    """The query rewriter's options beside those of every component."""

    task: Literal["rewrite"] = option(
        "What becomes of a query: a turn of a conversation is made to stand by itself.",
        affects="collect",
        default="rewrite",
    )
    teacher: str = option(
        "Who rewrites: human, for the rewrites that the data has; a language model that does (an alias, a "
        "Hub id, a folder, a GGUF file), or openai:NAME behind --teacher-url.",
        affects="collect",
        default=HUMAN,
        metavar="human|MODEL",
    )
    student: Literal["terms"] = option(
        "Kind of student: terms picks words of the conversation and adds them to the turn.",
        affects="train",
        default="terms",
    )
    student_model: str | None = option(
        "Model that the student is made of.",
        affects="train",
        default=None,
        metavar="MODEL",
        shown_default="MiniLM",
    )
    student_layers: str | None = option(
        "Keep N layers of it; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
        shown_default="all",
    )
    window: Annotated[int, Gt(0)] | None = option(
        "Tokens of a turn with its conversation; of a longer one the last turns and the first are kept.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="512, or what the student reads if that is less",
    )
    most_words: Annotated[int, Gt(0)] = option(
        "Words that are added to a turn, at most.", affects="train", default=24, metavar="N"
    )
    label_weight: Annotated[float, Ge(0)] = option(
        "Weight of the words that the teacher added.",
        affects="train",
        default=0.25,
        metavar="WEIGHT",
        sweep=False,
    )
    effect_weight: Annotated[float, Ge(0)] = option(
        "Weight of what words do to the search (BM25) for the documents that are judged.",
        affects="train",
        default=1.0,
        metavar="WEIGHT",
        sweep=False,
    )
    threshold: Annotated[float, Ge(0), Le(1)] | None = option(
        "Chance above which a word is added.",
        affects="train",
        default=None,
        metavar="P",
        shown_default="the best for the search, on conversations that are held out",
    )
    skip_weight: Annotated[float, Ge(0)] = option(
        "Weight of whether a turn finds its documents by itself (BM25), where documents are judged.",
        affects="train",
        default=0.25,
        metavar="WEIGHT",
        sweep=False,
    )
    skip: Annotated[float, Ge(0), Le(1)] | None = option(
        "Chance of lacking something up to which a turn is left alone; 0 leaves none alone.",
        affects="train",
        default=None,
        metavar="P",
        shown_default="that which makes fewest turns worse and gives up at most 2 % of what rewrites add, on "
        "conversations that are held out",
    )
    embedder: str | None = option(
        "Also search with this embedder, or with the student of its run.",
        affects="evaluate",
        default=None,
        metavar="MODEL|RUN",
    )
    rewrite_tokens: Annotated[int, Gt(0)] = option(
        "Tokens after which a language model's rewrite is cut, and is none.",
        affects="collect",
        default=64,
        metavar="N",
    )
    precision: Literal["float32", "bfloat16"] | None = option(
        "In what a language model computes.",
        affects="collect",
        default=None,
        shown_default="bfloat16 where the processor has it, else float32",
    )
    epochs: Annotated[float, Gt(0)] = option(
        "Passes over the turns.", affects="train", default=3.0, metavar="N", sweep=True
    )
    lr: Annotated[float, Gt(0)] = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=2e-4,
        metavar="RATE",
        sweep=True,
    )
    batch_tokens: Annotated[int, Gt(0)] = option(
        "Tokens of a training step, padding counted.",
        affects="train",
        default=2048,
        metavar="N",
        sweep=True,
    )
    teacher_price: str | None = option(
        "What the endpoint bills, in US dollars for a million tokens; two prices, as 0.15,0.60, where "
        "those that it reads and those that it writes differ.",
        affects="report",
        default=None,
        metavar="USD[,USD]",
        shown_default="unknown",
    )
    teacher_key_env: str = option(
        "Environment variable that holds the endpoint's key; it is written down nowhere.",
        affects="report",
        default=KEY_NAME,
        metavar="VAR",
    )
    report_to: str = option(
        "Also log training to these trackers, as tensorboard,wandb; files go to trackers/ of the run.",
        affects="report",
        default="none",
        metavar="LIST",
    )

    @property
    def teacher_name(self) -> str:
        """See ``RunConfig``."""
        return Path(self.teacher).name


def check_together(config: RewriterConfig) -> None:
    """Refuse options that one by one are good, and together say nothing.

    Raises:
        UserError: naming one of them.
    """
    human = config.teacher == HUMAN
    for wrong, where, why, mend in (
        (
            not (config.label_weight or config.effect_weight),
            "--label-weight",
            "with --effect-weight 0, too, nothing is learnt",
            "raise one of them",
        ),
        (
            human and config.precision is not None,
            "--precision",
            "the data's own rewrites are not computed",
            "leave it out, or name a language model with --teacher",
        ),
    ):
        if wrong:
            raise UserError(why, where=where, mend=mend)
