"""Students of less width: what is left out of their transformer is chosen on the training text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch import Tensor, nn

from ragdistill.batching import token_budget_batches
from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import Role, TrainText
from ragdistill.encoder import BATCH_TOKENS, Encoder
from ragdistill.errors import UserError
from ragdistill.training.narrowing import (
    Kept,
    Widths,
    choose,
    choose_widths,
    gains,
    importance,
    indifferent,
    narrow,
)
from ragdistill.training.preparing import transformer_of
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.lesson import tokenised
from ragdistill_embedder.student import states_of
from ragdistill_embedder.teacher import Teacher

SAMPLE = 256
"""Training texts on which it is measured what matters."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What stays of a transformer, and how its layer norms are to be scaled."""

    whole: int
    """Hidden dimensions that there were."""
    kept: Kept
    scales: Mapping[str, float] = field(default_factory=dict)


def some_cut(base: Encoder, config: EmbedderConfig) -> Cut | None:
    """A cut of the right size that has looked at no text; None where none is wanted.

    Raises:
        UserError: widths that ``base`` does not have, or an architecture that is not understood.
    """
    if not config.narrower:
        return None
    scores = indifferent(transformer_of(base.model).auto_model)
    return Cut(states_of(base.model), choose(scores, _widths(base, config)))


def best_cut(
    base: Encoder, config: EmbedderConfig, texts: Sequence[TrainText], prompts: Mapping[Role, str]
) -> Cut | None:
    """The cut that leaves what matters most on a sample of ``texts``; None where none is wanted.

    Raises:
        UserError: as :func:`some_cut`.
    """
    if not config.narrower:
        return None
    model, widths = transformer_of(base.model).auto_model, _widths(base, config)
    drawn = sample(texts, SAMPLE, config.seed, key=lambda item: item.text)
    rows = tokenised(base, drawn, prompts)
    at_once = BATCH_TOKENS[base.model.device.type]
    places = token_budget_batches([len(row) for row in rows], at_once)
    batches = [base.features([rows[place] for place in batch]) for batch in places]
    kept = choose(importance(model, batches), widths)
    return Cut(states_of(base.model), kept, gains(model, batches, kept.hidden))


def _widths(base: Encoder, config: EmbedderConfig) -> Widths:
    model = transformer_of(base.model).auto_model
    return choose_widths(model, config.student_hidden, config.student_intermediate)


def make_narrow(model: SentenceTransformer, cut: Cut) -> None:
    """Leave only ``cut`` of the transformer of ``model``, in place, and fit to it what follows.

    Raises:
        UserError: what follows the transformer cannot be fitted to another width.
    """
    transformer: Any = transformer_of(model)
    whole = int(transformer.get_embedding_dimension())
    transformer.model = narrow(transformer.auto_model, cut.kept, cut.scales)
    hidden = cut.kept.hidden
    if len(hidden) == whole:
        return
    for place, module in enumerate(model):
        if isinstance(module, Pooling) and module.pooling_output_dimension == whole:
            model[place] = Pooling(len(hidden), module.pooling_mode, module.include_prompt)
        elif isinstance(module, Dense) and isinstance(model[place - 1], Pooling):
            _narrow_input(module, hidden)
            return  # what follows reads what it gives
        elif module is not transformer and not isinstance(module, Normalize):
            raise _cannot_follow(module)


def _narrow_input(dense: Dense, hidden: Tensor) -> None:
    """Let ``dense`` read the dimensions ``hidden`` alone, in place: it gives as many as before."""
    if dense.use_residual:
        raise _cannot_follow(dense)
    linear = dense.linear
    made = nn.Linear(len(hidden), linear.out_features, bias=dense.bias, device=linear.weight.device)
    with torch.no_grad():
        made.weight.copy_(linear.weight[:, hidden.to(linear.weight.device)])
        if dense.bias:
            made.bias.copy_(linear.bias)
    dense.linear, dense.in_features = made, len(hidden)


def _cannot_follow(module: nn.Module) -> UserError:
    return UserError(
        f"a narrower transformer does not fit the {type(module).__name__} that follows it",
        where="--student-hidden",
        mend="leave it out, or choose a --student that pools in one way",
    )


def back(cut: Cut | None, student: int, teacher: int) -> nn.Linear | None:
    """A linear map without bias from the ``student``'s dimensions to the ``teacher``'s that begins by
    putting each back where it was; None unless such a ``cut`` may have made the one of the other."""
    if cut is None or student == teacher or (student, teacher) != (len(cut.kept.hidden), cut.whole):
        return None
    layer = nn.Linear(student, teacher, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[cut.kept.hidden, torch.arange(student)] = 1
    return layer


def state_head(cut: Cut | None, learner: Encoder, teacher: Teacher) -> nn.Linear | None:
    """The map from the token states of a ``learner`` made of the teacher's layers to the teacher's;
    None where they are of one width."""
    if teacher.encoder is None:
        return None
    return back(cut, states_of(learner.model), states_of(teacher.encoder.model))


def suffix(config: EmbedderConfig) -> str:
    """What the name of the student says of its width: ``-H192``, or ``-F768`` of its neurons."""
    hidden, neurons = config.student_hidden, config.student_intermediate
    return (f"-H{hidden}" if hidden else "") + (f"-F{neurons}" if neurons else "")


def told(config: EmbedderConfig) -> str:
    """What a plan says of the student's width."""
    named = {"hidden dimensions": config.student_hidden, "neurons": config.student_intermediate}
    return "".join(f", {count} {what}" for what, count in named.items() if count)
