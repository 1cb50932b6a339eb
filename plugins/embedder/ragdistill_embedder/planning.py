"""What a run would do and cost, told before anything is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragdistill.data.sampling import sample
from ragdistill.distiller import Plan
from ragdistill.encoder import Encoder
from ragdistill.training.preparing import parameters
from ragdistill_embedder import narrowing
from ragdistill_embedder.collecting import Wish, by_role
from ragdistill_embedder.lesson import Recipe, token_lengths
from ragdistill_embedder.setup import Setup
from ragdistill_embedder.teacher import Source

_PROBE = 64


def make_plan(
    setup: Setup, recipe: Recipe, wishes: Sequence[Wish], learner: Encoder | None, folder: Path
) -> Plan:
    """Texts still to be asked for, and what a sample of them takes on this machine.

    Args:
        learner: the student as it begins; None for a static one, which costs next to nothing.
    """
    teacher, layers = setup.teacher, setup.config.student_layers
    errands = [Errand.of(wish) for wish in wishes]
    items, tokens = sum(each.texts for each in errands), sum(each.tokens for each in errands)
    everything = sum(token_lengths(learner or teacher.reader, setup.texts, setup.by_role))
    trained = min(recipe.max_tokens, round(recipe.epochs * everything))
    made = "a static student" if learner is None else setup.base.name
    narrower = narrowing.told(setup.config)
    served = "as a table of token vectors" if learner is None else "as ONNX in fp32 and int8"
    each = round(tokens / max(1, items))
    return Plan(
        steps=(
            *(
                f"ask {source.name} for {_sum(errands, source):,} of {len(setup.wanted()):,} texts"
                f"{source.note}"
                for source in setup.sources
            ),
            f"train {made}{_told(layers)}{narrower} on {trained:,} tokens",
            f"evaluate on {len(setup.task.queries):,} queries of {setup.eval_collection.name}",
            f"export {served} to {folder / 'export'}",
        ),
        items=items,
        tokens=tokens,
        store_bytes=sum(wish.missing_bytes(each) for wish in wishes)
        if teacher.dimensions
        else None,
        seconds=_seconds(setup, errands, trained, learner),
        usd=_usd(errands),
    )


def _told(layers: str | None) -> str:
    """Which layers are kept, as ``--student-layers`` has it."""
    if layers is None:
        return ""
    return f" with {layers} of its layers" if layers.isdecimal() else f" with its layers {layers}"


@dataclass(frozen=True, slots=True)
class Errand:
    """What is still to be asked of one teacher."""

    source: Source
    texts: int
    tokens: int

    @classmethod
    def of(cls, wish: Wish) -> "Errand":
        """That of ``wish``."""
        todo, source = wish.unasked(), wish.source
        lengths = token_lengths(source.reader, todo, by_role(source.prompts))
        return cls(source, len(todo), sum(lengths))


def _sum(errands: Sequence[Errand], source: Source) -> int:
    """Texts that ``source`` is to be asked about."""
    return sum(each.texts for each in errands if each.source is source)


def _usd(errands: Sequence[Errand]) -> float | None:
    """What they cost; None where one has no price."""
    each = [errand.source.usd(errand.tokens) for errand in errands]
    return None if None in each else sum(usd for usd in each if usd)


def _seconds(
    setup: Setup, errands: Sequence[Errand], trained: int, learner: Encoder | None
) -> float | None:
    """What collecting and training take, measured on a few texts."""
    probe = sample(setup.texts, _PROBE, setup.config.seed, key=lambda item: item.text)
    texts = [item.text for item in probe]
    rates = [source.seconds_per_token(texts) for source in setup.sources]
    total = 0.0
    for each in errands:
        rate = rates[setup.sources.index(each.source)]
        if rate is None:
            return None
        total += rate * each.tokens
    first = rates[0]
    if learner is None or first is None:
        return total
    whole, kept = (parameters(each.model) for each in (setup.teacher.reader, learner))
    # A step of training is a forward and, at twice its cost, a backward pass.
    return total + first * 3 * trained * kept / whole
