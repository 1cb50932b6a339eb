"""What a run would do and cost, told before anything is done."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter

from ragdistill.distiller import Plan
from ragdistill_reranker import scoring
from ragdistill_reranker.setup import Setup
from ragdistill_reranker.training import Recipe, held_out_of


def make_plan(setup: Setup, recipe: Recipe, folder: Path) -> Plan:
    """Pairs still to be scored, and what a sample of them takes on this machine."""
    steps, first, setup = _writing(setup)
    # What a dry run does itself, a run does again, for a dry run leaves nothing behind.
    started = perf_counter()
    _ = setup.pairs
    finding = perf_counter() - started
    tokens, seconds = first.tokens, None if first.seconds is None else finding + first.seconds
    items = stored = 0
    usd: float | None = 0.0
    for scorer, space in zip(setup.scorers, setup.spaces, strict=True):
        windows = list(scoring.unscored(scorer, setup.pairs, space))
        count = sum(map(len, windows))
        told = scorer.forecast(windows)
        steps.append(
            f"have {scorer.name} score {count:,} of {len(setup.pairs):,} pairs ({scorer.scale})"
        )
        items, tokens = items + count, tokens + told.tokens
        stored += count * space.record_bytes
        seconds = None if seconds is None or told.seconds is None else seconds + told.seconds
        price = scorer.usd(told.tokens)
        usd = None if usd is None or price is None else usd + price
    lists, config = setup.train_lists, setup.config
    parts = {"of its layers": config.student_layers, "neurons": config.student_intermediate}
    smaller = " and ".join(f"{count} {what}" for what, count in parts.items() if count)
    kept = f" with {smaller}" if smaller else ""
    made, ways = f"a {config.student} of {setup.base.name}{kept}", lists.there.shape[1]
    apart = held_out_of(len(lists.queries))
    learnt = f"{len(lists.queries) - apart:,} lists of {ways}"
    return Plan(
        steps=(
            _finding(setup),
            *steps,
            f"train {made} on {learnt}, {recipe.epochs:g} times; {apart:,} more are held out",
            f"evaluate on {len(setup.task.queries):,} queries of {setup.eval_collection.name}",
            f"export to {folder / 'export'}",
        ),
        items=items,
        unit="pairs",
        tokens=tokens,
        store_bytes=stored,
        seconds=seconds,
        usd=usd,
    )


def _finding(setup: Setup) -> str:
    found, judged = setup.stage.name, setup.finder.judged_by
    apart = "" if judged == found else f" for what is learnt from, of {judged} for judged queries"
    return f"take candidates of {found}{apart}, the first {setup.config.candidates}"


def _writing(setup: Setup) -> tuple[list[str], scoring.Forecast, Setup]:
    """What writing questions would take, and what to plan with in place of them: nobody knows them
    yet, and of pieces there are about as many."""
    if setup.writer is None:
        return [], scoring.Forecast(0, 0.0), setup
    other = Setup(replace(setup.config, questions="pieces"), setup.folder)
    vars(other)["scorers"] = setup.scorers  # loaded once
    asked = [question for question in other.questions if question.rest is not None]
    documents = [other.collection.documents[question.relevant[0]].content for question in asked]
    left = len(setup.writer.missing(documents))
    step = f"have {setup.writer.teacher.name} write about {left:,} questions"
    return [step], setup.writer.forecast(documents), other
