"""The generator's methods: one distiller, told what to learn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ragdistill.distiller import Plan
from ragdistill_generator.distiller import GeneratorDistiller
from ragdistill_generator.reasoning_setup import ReasoningSetup, readings
from ragdistill_generator.setup import Setup


class Logits(GeneratorDistiller):
    """The teacher's distribution over each token, and the answer's own tokens."""

    told = True


class OnPolicy(Logits):
    """The teacher's distribution over each token of what the student itself writes."""

    samples = True


class Sequence(GeneratorDistiller):
    """The answers that the teacher writes."""

    own = "teacher"


class Labels(GeneratorDistiller):
    """The data's own answers, without a teacher: what a method has to be better than."""

    own = "gold"


class ChainOfThought(GeneratorDistiller):
    """Reasoning and answers: the data's own, or those of the teacher's that can be believed."""

    reasons = True
    made_of: ClassVar[type[Setup]] = ReasoningSetup

    def plan(self) -> Plan:
        """With the further samples of what is learnt from."""
        plan, setup = super().plan(), self.setup
        assert isinstance(setup, ReasoningSetup)
        for writer in setup.others:
            left, space = setup.left(writer)
            told = writer.forecast(left)
            first, *later = plan.steps
            plan = replace(
                plan,
                steps=(first, f"have {writer.name} reason {len(left):,} times more", *later),
                items=(plan.items or 0) + len(left),
                tokens=(plan.tokens or 0) + told.tokens,
                store_bytes=(plan.store_bytes or 0) + len(left) * space.record_bytes,
                seconds=_sum(plan.seconds, told.seconds),
                usd=_sum(plan.usd, writer.usd(told.tokens, told.written)),
            )
        return plan

    def read(self, replies: Mapping[str, list[str]]) -> dict[str, Any]:
        """How many replies could be read: what could not counts as a wrong answer."""
        return {"replies": {name: readings(said) for name, said in replies.items()}}


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
