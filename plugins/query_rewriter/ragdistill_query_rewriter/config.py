"""What ``ragdistill query-rewriter`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import option
from ragdistill_query_rewriter.expansion_options import RM3, ExpansionConfig

HUMAN = "human"
"""The teacher that has written already: the data's own rewrites."""
KEY_NAME = "OPENAI_API_KEY"
"""The environment variable that an endpoint's key is read from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewriterConfig(ExpansionConfig):
    """The query rewriter's options beside those of every component."""

    task: Literal["rewrite", "expand"] = option(
        "What becomes of a query: a turn of a conversation is made to stand by itself, or a query is given "
        "words and variants that find more.",
        affects="collect",
        default="rewrite",
    )
    teacher: str = option(
        "Who rewrites: human, for the rewrites that the data has; rm3, for the words of the documents that "
        "a query finds first (--task expand); a language model that does (an alias, a Hub id, a folder, a "
        "GGUF file), or openai:NAME behind --teacher-url.",
        affects="collect",
        default="",
        metavar="human|rm3|MODEL",
        shown_default="human; rm3 for --task expand",
    )
    student: Literal["terms", "seq2seq", "causal"] = option(
        "Kind of student: terms picks words of the conversation and adds them to the turn; seq2seq, an "
        "encoder-decoder, and causal, a language model, write expansions.",
        affects="train",
        default=None,
        shown_default="terms; seq2seq for --task expand",
    )
    student_model: str | None = option(
        "Model that the student is made of; scratch, a small T5 with words of the data.",
        affects="train",
        default=None,
        metavar="MODEL|scratch",
        shown_default="MiniLM; flan-t5-small for seq2seq, or scratch where that cannot be had; "
        "SmolLM2-135M-Instruct for causal",
    )
    student_layers: str | None = option(
        "Keep N layers of it; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
        shown_default="all",
    )
    window: Annotated[int, Gt(0)] | None = option(
        "Tokens of a turn with its conversation, or of a query; of a longer conversation the last turns and "
        "the first are kept.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="512, or what the student reads if that is less; 128 for --task expand",
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
        "Passes over what is learnt.",
        affects="train",
        default=0.0,
        metavar="N",
        shown_default="3; 10 for --task expand",
        sweep=True,
    )
    lr: Annotated[float, Gt(0)] = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=0.0,
        metavar="RATE",
        shown_default="2e-4; 1e-3 for seq2seq",
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

    def __post_init__(self) -> None:
        """What is not said is what is usual for the task."""
        expands = self.task == "expand"
        student = self.student or ("seq2seq" if expands else "terms")
        usual = {
            "teacher": RM3 if expands else HUMAN,
            "student": student,
            "epochs": 10.0 if expands else 3.0,
            "lr": 1e-3 if student == "seq2seq" else 2e-4,
        }
        for name, value in usual.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @property
    def teacher_name(self) -> str:
        """See ``RunConfig``."""
        return Path(self.teacher).name
