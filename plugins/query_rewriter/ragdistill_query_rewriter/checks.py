"""Options that one by one are good, and together say nothing."""

from collections.abc import Iterator

from ragdistill.errors import UserError
from ragdistill_query_rewriter.config import HUMAN, RewriterConfig
from ragdistill_query_rewriter.expansion_options import RM3

SCRATCH = "scratch"
"""The student model that is made on the data."""
Fault = tuple[bool, str, str, str]
"""Whether it is there, and where, what, and how to mend it."""
_LEAVE = "give --task expand, or leave it out"
_NAME = "leave it out, or name a language model with --teacher"


def check_together(config: RewriterConfig) -> None:
    """Refuse such options.

    Raises:
        UserError: naming one of them.
    """
    for wrong, where, why, mend in _expanding(config) if _expands(config) else _rewriting(config):
        if wrong:
            raise UserError(why, where=where, mend=mend)


def _expands(config: RewriterConfig) -> bool:
    return config.task == "expand"


def _rewriting(config: RewriterConfig) -> Iterator[Fault]:
    human, student = config.teacher == HUMAN, config.student
    yield student != "terms", "--student", f"{student} writes expansions of queries", _LEAVE
    told_nothing = "retrieval feedback tells no turn what its conversation said"
    yield config.teacher == RM3, "--teacher", told_nothing, _LEAVE
    yield config.combine is not None, "--combine", "a turn has one rewrite", _LEAVE
    yield (
        not (config.label_weight or config.effect_weight),
        "--label-weight",
        "with --effect-weight 0, too, nothing is learnt",
        "raise one of them",
    )
    computed = human and config.precision is not None
    yield computed, "--precision", "the data's own rewrites are not computed", _NAME


def _expanding(config: RewriterConfig) -> Iterator[Fault]:
    rm3, named = config.teacher == RM3, config.student_model
    yield (
        config.teacher == HUMAN,
        "--teacher",
        "humans rewrote turns of conversations, and expanded nothing",
        "give rm3 or a language model, or --task rewrite",
    )
    yield (
        config.student == "terms",
        "--student",
        "terms picks words of a conversation, and writes none of its own",
        "give seq2seq or causal, or --task rewrite",
    )
    fused = rm3 and config.combine == "rrf"
    yield (
        fused,
        "--combine",
        "the words of rm3 are no queries by themselves",
        "give append or append-rrf, or name a language model with --teacher",
    )
    computed = rm3 and config.precision is not None
    yield computed, "--precision", "rm3 computes nothing that it changes", _NAME
    dense = config.feedback_from == "embedder"
    no_feedback = f"the teacher {config.teacher!r} asks no retriever"
    yield dense and not rm3, "--feedback-from", no_feedback, "leave it out, or give --teacher rm3"
    no_embedder = dense and config.embedder is None
    yield no_embedder, "--feedback-from", "no embedder is named", "name one with --embedder"
    yield (
        config.student == "causal" and named == SCRATCH,
        "--student-model",
        "what is made from scratch is an encoder-decoder",
        "give --student seq2seq, or name a language model",
    )
    yield (
        config.student == "seq2seq" and config.student_layers is not None,
        "--student-layers",
        "layers of an encoder-decoder are not left out",
        "leave it out, or give --student causal",
    )
