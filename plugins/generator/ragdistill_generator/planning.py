"""What a run would do and cost, told before anything is done."""

from pathlib import Path
from time import perf_counter

from ragdistill.distiller import Plan
from ragdistill.writing import Forecast
from ragdistill_generator import cascade, variants
from ragdistill_generator.policy_options import ASKED
from ragdistill_generator.setup import Setup
from ragdistill_generator.telling import wanted_of
from ragdistill_generator.training import Recipe

_TRIED = 2
"""Rows that the teacher reads so that it can be told how long all take."""


def make_plan(setup: Setup, recipe: Recipe, folder: Path) -> Plan:
    """Answers still to be written, and what a few of them take on this machine."""
    setup.meet()
    parts = setup.unwritten()
    left = sum(len(requests) for _, requests, _ in parts)
    told = _together([writer.forecast(requests) for writer, requests, _ in parts])
    asked = sum(len(requests) for _, requests in setup.asked)
    steps = [f"have {setup.writer.name} write {left:,} of {asked:,} answers"]
    seconds, stored = told.seconds, left * setup.texts.record_bytes
    items, tokens = left, told.tokens
    below = cascade.planned(setup.config, folder) if setup.told else None
    if below is not None:  # whose run asks for the same answers
        steps += cascade.steps(setup.config, below)
        items, tokens, seconds = below.items or 0, below.tokens or 0, below.seconds
        stored = below.store_bytes or 0
    if setup.stores and setup.gold and cascade.ready(setup.config, folder):
        step, more, read, took, kept = _telling(setup)
        steps.append(step)
        items, tokens, stored = items + more, tokens + read, stored + kept
        seconds = None if seconds is None else seconds + took
    elif setup.stores:
        # Nobody knows yet what will be answered, and so what has to be told; or who tells it is not there yet.
        who = setup.writer.name
        if setup.config.via:
            who = f"{setup.config.via[-1]}, when it has learnt,"
        steps.append(
            f"have {who} say how likely each token of {'the' if setup.gold else 'its'} answers is"
        )
        seconds = None if left or below is not None else seconds
    layers = f" with {setup.layers} of its layers" if setup.layers is not None else ""
    if setup.tutor in ASKED:
        steps.append(f"ask {setup.model.name} of each token while the student learns")
    return Plan(
        steps=(
            *steps,
            *_preparing(setup, known=not left),
            *variants.plan(setup),
            f"train {setup.base.name}{layers} on {len(setup.train_cases):,} answers, {recipe.epochs:g} times",
            f"evaluate on {len(setup.eval_cases):,} questions of {setup.eval_collection.name}",
            f"export to {folder / 'export'}",
        ),
        items=items,
        tokens=tokens,
        store_bytes=stored,
        seconds=seconds,
        usd=setup.writer.usd(told.tokens, told.written),
    )


def _together(parts: list[Forecast]) -> Forecast:
    """What all of them take."""
    seconds = [part.seconds for part in parts if part.seconds is not None]
    return Forecast(
        sum(part.tokens for part in parts),
        sum(part.written for part in parts),
        sum(seconds) if len(seconds) == len(parts) else None,
    )


def _preparing(setup: Setup, *, known: bool) -> list[str]:
    """What becomes of answers before they are learnt; ``known``: of the teacher's that they are there."""
    steps = []
    if setup.told and setup.gold and (foreseen := setup.foreseen) is not None:
        steps.append(
            f"say it in the tokens of {setup.base.name}, which can be done of {foreseen.of_tokens:.1%} of "
            f"{foreseen.tokens:,} tokens"
        )
    if setup.mix is not None and (setup.gold or known):
        steps.append(f"mix {len(setup.general):,} texts of {setup.mix.collection.name} in")
    return steps


def _telling(setup: Setup) -> tuple[str, int, int, float, int]:
    """What telling takes: a line, records, tokens, seconds and bytes."""
    lesson = setup.told_lesson.read_by(setup.mentor_network)
    contexts = setup.context_weight > 0
    rows = setup.teller.missing(lesson, contexts, setup.distributions)
    read = sum(len(row.tokens) for row in rows)
    wanted = [item for row in rows for item in wanted_of(row, lesson.examples, contexts)]
    heard = sum(len(item.labels) for item in wanted)
    started = perf_counter()
    tried = rows[: len(rows) : max(1, len(rows) // _TRIED)][:_TRIED]
    for row in tried:
        setup.teller.said(lesson, row, contexts)
    rate = (perf_counter() - started) / max(sum(len(row.tokens) for row in tried), 1)
    step = f"have {setup.mentor.name} say how likely {heard:,} tokens are"
    return step, len(wanted), read, rate * read, heard * setup.distributions.record_bytes
