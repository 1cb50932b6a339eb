"""What ``ragdistill generator`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from ragdistill.config import flag, option
from ragdistill.endpoint.options import EndpointConfig
from ragdistill.errors import UserError
from ragdistill_generator.feature_options import FeatureOptions
from ragdistill_generator.policy_options import OWN, PolicyOptions
from ragdistill_generator.reasoning_options import ReasoningConfig
from ragdistill_generator.token_options import TokenConfig, faults

KEY_NAME = "OPENAI_API_KEY"
"""The environment variable that an endpoint's key is read from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorConfig(ReasoningConfig, PolicyOptions, TokenConfig, FeatureOptions, EndpointConfig):
    """The generator's options beside those of every component."""

    teacher: str = option(
        "Language model that answers: an alias, a Hub id, a folder, a GGUF file, or openai:NAME behind "
        "--teacher-url.",
        affects="collect",
        metavar="MODEL",
    )
    student: str | None = option(
        "Language model that learns.",
        affects="collect",
        default=None,
        metavar="MODEL",
        shown_default="the teacher, with half of its layers",
    )
    student_layers: str | None = option(
        "Keep N layers of it; or name them, counted from 0, as 0,2,5.",
        affects="train",
        default=None,
        metavar="N|LIST",
        shown_default="all; half of the teacher's",
    )
    prune: Literal["divergence", "even", "angular", "block"] = option(
        "Which layers are left out: one after another those without which it says what the teacher says "
        "most nearly; all but evenly spread ones; those that turn their input least; the block that does.",
        affects="train",
        default="divergence",
    )
    answers: Literal["auto", "gold", "teacher"] = option(
        "Whose answers are learnt: those of the data or the teacher's; auto: the data's where it has any.",
        affects="collect",
        default="auto",
    )
    contexts: Annotated[int, Gt(0)] = option(
        "Contexts of a question, at most.", affects="collect", default=3, metavar="K"
    )
    contexts_from: str | None = option(
        "What finds contexts: bm25, the run of an embedder or reranker, or a TREC run file.",
        affects="collect",
        default=None,
        metavar="bm25|RUN|FILE",
        shown_default="the judged documents",
    )
    style: Literal["short", "cited"] = option(
        "How answers are asked for: in as few words as possible, or with the contexts cited.",
        affects="collect",
        default="short",
    )
    window: Annotated[int, Gt(0)] | None = option(
        "Tokens of a question with its contexts and answer; contexts are cut to it.",
        affects="collect",
        default=None,
        metavar="N",
        shown_default="2048, or what teacher and student read if that is less",
    )
    answer_tokens: Annotated[int, Gt(0)] = option(
        "Tokens after which an answer is cut.", affects="collect", default=48, metavar="N"
    )
    sampling: Annotated[float, Ge(0)] = option(
        "Temperature at which the teacher writes answers to be learnt; 0 takes the likeliest words.",
        affects="collect",
        default=0.0,
        metavar="T",
    )
    precision: Literal["float32", "bfloat16"] | None = option(
        "In what the teacher computes.",
        affects="collect",
        default=None,
        shown_default="bfloat16 where the processor has it, else float32",
    )
    kept: Literal["top-k", "sampled"] | None = option(
        "What is stored of the teacher's distribution: its likeliest tokens with the mass of the others, "
        "or tokens drawn from it.",
        affects="collect",
        default=None,
        shown_default="sampled; top-k where the student has other tokens",
    )
    draws: Annotated[int, Gt(0)] = option(
        "Of --kept sampled: how often is drawn.", affects="collect", default=200, metavar="N"
    )
    mass: Annotated[float, Gt(0), Le(1)] = option(
        "Of --kept top-k: the mass that is kept.", affects="collect", default=0.98, metavar="P"
    )
    top_k: Annotated[int, Gt(0)] = option(
        "Of --kept top-k: tokens that are kept, at most.",
        affects="collect",
        default=64,
        metavar="N",
    )
    temperature: Annotated[float, Gt(0), Le(100)] = option(
        "Of the softmaxes of teacher and student.",
        affects="collect",
        default=1.0,
        metavar="T",
    )
    alpha: Annotated[float, Ge(0), Le(1)] = option(
        "Weight of the teacher's distribution, that of the answer's own tokens is 1 less it.",
        affects="train",
        default=0.5,
        metavar="A",
        sweep=False,
    )
    divergence: Literal["forward", "reverse", "symmetric", "jsd"] = option(
        "Between the teacher's distribution and the student's.",
        affects="train",
        default="forward",
    )
    context_weight: Annotated[float, Ge(0)] | None = option(
        "Weight of the teacher's distribution over the contexts' own tokens, which heals a student that "
        "lost layers.",
        affects="collect",
        default=None,
        metavar="WEIGHT",
        shown_default="1 where layers are left out, else 0",
    )
    epochs: Annotated[float, Gt(0)] = option(
        "Passes over the answers.", affects="train", default=5.0, metavar="N", sweep=True
    )
    lr: Annotated[float, Gt(0)] | None = option(
        "Peak learning rate (AdamW, cosine after 5 % warm-up).",
        affects="train",
        default=None,
        metavar="RATE",
        shown_default="1e-3 where layers are left out, else 5e-5; 2e-4 with --lora",
        sweep=True,
    )
    batch_tokens: Annotated[int, Gt(0)] = option(
        "Tokens of a training step, padding counted.",
        affects="train",
        default=2048,
        metavar="N",
        sweep=True,
    )
    lora: Annotated[int, Gt(0)] | None = option(
        "Train updates of so low a rank, and merge them when done.",
        affects="train",
        default=None,
        metavar="RANK",
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


def check_together(
    config: GeneratorConfig, *, told: bool, own: Literal["gold", "teacher"] | None, stored: bool
) -> None:
    """Refuse options that one by one are good, and together say nothing.

    Args:
        told: whether the method learns the teacher's distributions.
        own: whose answers the method learns, if that is its own affair.
        stored: whether they come from the store.

    Raises:
        UserError: naming one of them.
    """
    config.refuse_together(config.lora)
    _refuse_cold(config)
    _refuse_unused(config, told=told, stored=stored)
    for wrong, where, why, mend in (
        (
            own is not None and config.answers not in ("auto", own),
            "--answers",
            f"the method learns {'the data' if own == 'gold' else 'the teacher'}'s answers",
            "leave it out, or give --method logits",
        ),
        (
            stored and config.kept != "top-k" and not _forward(config),
            "--divergence" if config.beta is None else "--beta",
            "of tokens that were drawn only the forward one can be had",
            "give --kept top-k, too",
        ),
        (
            not told and bool(config.context_weight),
            "--context-weight",
            "only --method logits stores what the teacher says of contexts",
            "leave it out",
        ),
        *faults(config, told=told),
    ):
        if wrong:
            raise UserError(why, where=where, mend=mend)


_COLDEST = 0.01
"""Of temperatures at which is drawn: below it nothing but the likeliest words is, and numbers overflow."""


def _refuse_cold(config: GeneratorConfig) -> None:
    for name in ("sampling", "student_sampling"):
        if 0 < (getattr(config, name) or 0) < _COLDEST:
            raise UserError(
                f"at a temperature below {_COLDEST:g} nothing but the likeliest words is drawn",
                where=flag(name),
                mend="give 0, which takes those, or more",
            )


_TOLD = ("temperature", "alpha", "divergence", "beta")
_KEPT = ("kept", "draws", "mass", "top_k")


def _refuse_unused(config: GeneratorConfig, *, told: bool, stored: bool) -> None:
    """Refuse what is said of distributions that are not learnt, or not stored, or stored otherwise."""
    own = config.tutor in OWN
    for names, unused, why, mend in (
        ((*_TOLD, *_KEPT), not told, f"{_ALONE} distributions", "leave it out"),
        (
            _KEPT,
            told and not stored,
            "of a teacher that is asked while the student learns nothing is stored",
            _STORED,
        ),
        (
            ("entropy_floor",),
            told and (own or not stored),
            "only what is stored of answers is softened",
            _STORED,
        ),
        (("draws",), config.kept == "top-k", "nothing is drawn", "leave it out"),
    ):
        given = [name for name in names if getattr(config, name) != _default(name)]
        if unused and given:
            raise UserError(why, where=flag(given[0]), mend=mend)


_ALONE = "only --method logits and on-policy learn the teacher's"
_STORED = "leave it out, or leave out --tutor"


def refuse_cap(config: GeneratorConfig) -> None:
    """Refuse what is said of the likeliest tokens where teacher and student have the same, unless those are
    what is stored.

    Raises:
        UserError: naming the option.
    """
    for name in ("mass", "top_k"):
        if config.kept != "top-k" and getattr(config, name) != _default(name):
            raise UserError(
                "says nothing of tokens that are drawn",
                where=flag(name),
                mend="give --kept top-k, too",
            )


def _default(name: str) -> object:
    return {field.name: field.default for field in dataclasses.fields(GeneratorConfig)}[name]


def _forward(config: GeneratorConfig) -> bool:
    return config.divergence == "forward" if config.beta is None else config.beta == 0
