"""Fitting the student to answers, and to what the teacher said of their tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from transformers import set_seed

from ragdistill.errors import Diverged, UserError
from ragdistill.losses import LogitObjective
from ragdistill.packing import Row
from ragdistill.training import fake_int8, language, lora
from ragdistill.training.fitting import Course, Pace
from ragdistill.training.preparing import without_dropout
from ragdistill_generator.lesson import Batches, Lesson, make_course
from ragdistill_generator.objective import AnswerLoss
from ragdistill_generator.student import Student
from ragdistill_generator.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """How the student is fitted."""

    objective: LogitObjective
    """Of examples that the teacher said something of, at the temperature at which it did: with ``alpha``
    1 its distributions alone, between them and the answers' tokens below, with 0 the tokens alone,
    which is all that is learnt of other examples."""
    epochs: float
    words: bool = False
    """Whether the embeddings are trained: a corpus holds few of the words, and they are most of a small
    student. Where the head is the same matrix it is not trained either."""
    vocabulary: int | None = None
    """Token ids that exist, where a head was padded."""
    int8: bool = False
    """Whether the student reads with int8's rounding while it learns."""
    context_weight: float = 0.0
    """Weight of what the teacher said of the contexts' tokens, the mean over them, beside that of the
    answers' (1)."""


def nothing() -> None:
    """What there is to do where nothing is."""


@dataclass(frozen=True)
class Parts:
    """What the loop takes besides the student, its steps and its pace."""

    loss: nn.Module
    batches: Batches
    kind: Callable[..., language.LanguageTrainer] = language.LanguageTrainer
    """The trainer."""
    maps: Mapping[str, nn.Module] = field(default_factory=dict)
    """What a checkpoint keeps besides the student, by file."""
    merge: Callable[[], object] = nothing
    """Ends the training of what is trained besides."""
    fault: Callable[[], UserError | None] = lambda: None
    """Where no loss was a number, what that was if not the rate."""


class Companion(Protocol):
    """A network that is read beside the student while it learns."""

    network: Any

    def parts(self, network: Any, lesson: Lesson, rows: Sequence[Row], recipe: Recipe) -> Parts:
        """What the loop takes for a student, whose weights are set to be trained."""

    def after(self, network: Any, batches: Batches, course: Course) -> tuple[Any, dict[str, Any]]:
        """The network that is kept when all is learnt and merged, and what is said of that."""


def fit(
    student: Student,
    lesson: Lesson,
    recipe: Recipe,
    folder: Path,
    tutor: Companion | None = None,
    terms: Terms | None = None,
) -> dict[str, Any]:
    """Train ``student`` in place; returns what happened. See
    :func:`ragdistill.training.language.run`.

    Args:
        folder: of the checkpoints.
        tutor: one that says, while the student learns, how likely tokens are, in place of what is in
            the lesson.
        terms: what is learnt besides, where there is no such tutor; thrown away when the student is fitted.

    Raises:
        Diverged: no loss is a number, and neither is it the fault of who teaches.
        UserError: it is.
    """
    terms = Terms() if terms is None else terms
    set_seed(recipe.seed)
    network = student.network
    without_dropout(network)
    merge = prepare(network, recipe)
    lesson = lesson.read_by(network)
    if tutor is not None:
        without_dropout(tutor.network)
    for other in (None if tutor is None else tutor.network, terms.teacher):
        if other is not None:
            lesson = lesson.read_by(other)
    course, rows, (learnt, apart) = make_course(lesson, epochs=recipe.epochs, seed=recipe.seed)
    recipe = _with_words(recipe, network if tutor is None else tutor.network, network)
    told = (network, lesson, rows, recipe)
    parts = alone(*told, terms) if tutor is None else tutor.parts(*told)
    ours = (course, parts.batches, recipe, folder, parts.maps, parts.kind)
    try:
        found = language.run(network, parts.loss, *ours)
    except Diverged as error:
        if (fault := parts.fault()) is not None:
            raise fault from error
        raise
    merge()
    parts.merge()
    if tutor is not None:
        student.network, after = tutor.after(network, parts.batches, course)
        found |= after
    student.network.eval()
    return found | {"items": learnt, "held_out_items": apart, "read_together": lesson.together}


def alone(network: Any, lesson: Lesson, rows: Sequence[Row], recipe: Recipe, terms: Terms) -> Parts:
    """What the loop takes for a student that learns what is in the lesson."""
    reading = recipe.context_weight * lesson.answers_to_contexts
    loss = AnswerLoss(network, recipe.objective, None, recipe.vocabulary, reading, terms)
    return Parts(loss, Batches(lesson, rows), maps=terms.maps())


def _with_words(recipe: Recipe, *networks: Any) -> Recipe:
    """The recipe with no more ids than all of them have rows for."""
    if recipe.vocabulary is None:
        return recipe
    rows = [len(each.get_output_embeddings().weight) for each in networks]
    return replace(recipe, vocabulary=min(recipe.vocabulary, *rows))


def prepare(network: Any, recipe: Recipe) -> Callable[[], None]:
    """Let what the recipe says be trained, and nothing else; returns what ends it: low-rank updates
    are merged, and nothing is rounded any more."""
    if recipe.lora is not None:
        network.requires_grad_(False)
        return lora.adapt(network.base_model, recipe.lora, recipe.seed)
    network.requires_grad_(True)
    if not recipe.words:
        network.get_input_embeddings().requires_grad_(False)
    return fake_int8.adapt(network) if recipe.int8 else lambda: None
