"""What a run would do and cost, told before anything is done."""

from collections.abc import Sequence
from pathlib import Path

from ragdistill.data.sampling import sample
from ragdistill.distiller import Plan
from ragdistill_embedder import narrowing
from ragdistill_embedder.collecting import Wish
from ragdistill_embedder.encoder import Encoder
from ragdistill_embedder.lesson import Recipe, token_lengths
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.student import parameters

_PROBE = 64


def make_plan(
    setup: Setup, recipe: Recipe, wishes: Sequence[Wish], learner: Encoder | None, folder: Path
) -> Plan:
    """Texts still to be asked for, and what a sample of them takes on this machine.

    Args:
        learner: the student as it begins; None for a static one, which costs next to nothing.
    """
    teacher, layers = setup.teacher, setup.config.student_layers
    todo = [item for wish in wishes for item in wish.unasked()]
    tokens = sum(token_lengths(teacher.reader, todo, setup.by_role))
    everything = sum(token_lengths(learner or teacher.reader, setup.texts, setup.by_role))
    trained = min(recipe.max_tokens, round(recipe.epochs * everything))
    made = "a static student" if learner is None else setup.base.name
    narrower = narrowing.told(setup.config)
    served = "as a table of token vectors" if learner is None else "as ONNX in fp32 and int8"
    each = round(tokens / max(1, len(todo)))
    return Plan(
        steps=(
            f"ask {teacher.name} for {len(todo):,} of {len(setup.wanted()):,} texts{teacher.note}",
            f"train {made}{f' with layers {layers}' if layers else ''}{narrower} on {trained:,} tokens",
            f"evaluate on {len(setup.task.queries):,} queries of {setup.eval_collection.name}",
            f"export {served} to {folder / 'export'}",
        ),
        items=len(todo),
        tokens=tokens,
        store_bytes=sum(wish.missing_bytes(each) for wish in wishes)
        if teacher.dimensions
        else None,
        seconds=_seconds(setup, tokens, trained, learner),
        usd=teacher.usd(tokens),
    )


def _seconds(setup: Setup, tokens: int, trained: int, learner: Encoder | None) -> float | None:
    """What collecting and training take, measured on a few texts."""
    probe = sample(setup.texts, _PROBE, setup.config.seed, key=lambda item: item.text)
    rate = setup.teacher.seconds_per_token([item.text for item in probe])
    if rate is None or learner is None:
        return None if rate is None else rate * tokens
    whole, kept = (parameters(each.model) for each in (setup.teacher.reader, learner))
    # A step of training is a forward and, at twice its cost, a backward pass.
    return rate * (tokens + 3 * trained * kept / whole)
