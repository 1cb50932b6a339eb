"""What a run would do and cost, told before anything is done."""

from pathlib import Path

from ragdistill.distiller import Plan
from ragdistill_query_rewriter.term_setup import TermSetup
from ragdistill_query_rewriter.training import Recipe


def make_plan(setup: TermSetup, recipe: Recipe, folder: Path) -> Plan:
    """Rewrites still to be written, and what a few of them take on this machine."""
    setup.meet()
    learnt, task = setup.learnt, setup.task
    layers = f" with {setup.config.student_layers} layers" if setup.config.student_layers else ""
    later = (
        f"measure what words do to the search in {len(setup.collection.documents):,} documents",
        (
            f"train {setup.base.name}{layers} on {len(learnt):,} turns, {recipe.epochs:g} times, and choose "
            f"its threshold on {len(setup.chosen):,}"
        ),
        f"evaluate on {len(task.queries):,} turns of {setup.eval_collection.name}",
        f"export to {folder / 'export'}",
    )
    if setup.writer is None or setup.texts is None:
        told = sum(query.rewrite is not None for query in learnt)
        first = f"take {told:,} rewrites of humans from {setup.collection.name}"
        return Plan(steps=(first, *later), items=0, tokens=0, store_bytes=0, usd=0.0)
    left = setup.unwritten
    cost = setup.writer.forecast(left)
    first = f"have {setup.writer.name} rewrite {len(left):,} of {len(setup.asked):,} turns"
    return Plan(
        steps=(first, *later),
        items=len(left),
        tokens=cost.tokens,
        store_bytes=len(left) * setup.texts.record_bytes,
        seconds=cost.seconds,
        usd=setup.writer.usd(cost.tokens, cost.written),
    )
