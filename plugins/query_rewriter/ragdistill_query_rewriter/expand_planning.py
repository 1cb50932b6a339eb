"""What a run of ``--task expand`` would do and cost, told before anything is done."""

from pathlib import Path

from ragdistill.distiller import Plan
from ragdistill_query_rewriter.expand_setup import ExpandSetup
from ragdistill_query_rewriter.sequence_training import SequenceRecipe


def make_plan(setup: ExpandSetup, recipe: SequenceRecipe, folder: Path) -> Plan:
    """Expansions still to be written, and what a few of them take on this machine."""
    setup.meet()
    left, writer = setup.unwritten, setup.writer
    taught = setup.teachable(setup.learnt)
    made = f" and of {len(setup.made):,} made of documents" if setup.made else ""
    tried = ", as far as they find judged documents better" if setup.config.effect_filter else ""
    cost = writer.forecast(left)
    assert setup.texts is not None
    return Plan(
        steps=(
            f"have {writer.name} expand {len(left):,} of {setup.asked_in_all:,} queries",
            (
                f"train {setup.base_name} on expansions of {len(taught):,} queries{tried}{made}, "
                f"{recipe.epochs:g} times"
            ),
            f"evaluate on {len(setup.task.queries):,} queries of {setup.eval_collection.name}",
            f"leave the student in {folder / 'student'}",
        ),
        items=len(left),
        tokens=cost.tokens,
        store_bytes=len(left) * setup.texts.record_bytes,
        seconds=cost.seconds,
        usd=writer.usd(cost.tokens, cost.written),
    )
