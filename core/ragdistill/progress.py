"""Progress on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ragdistill import processes

Advance = Callable[[int, int], None]
"""``advance(items, tokens)``: so much more has been done."""

_LINE_EVERY_SECONDS = 30.0


@contextmanager
def track(description: str, total: int) -> Iterator[Advance]:
    """Show that ``total`` items are worked through; yields what counts them."""
    if processes.rank():
        yield lambda items, tokens: None  # The first process tells for all.
    elif sys.stderr.isatty():
        with _bar(description, total) as advance:
            yield advance
    else:
        yield _lines(description, total)


@contextmanager
def _bar(description: str, total: int) -> Iterator[Advance]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")
        started, seen = time.perf_counter(), 0

        def advance(items: int, tokens: int) -> None:
            nonlocal seen
            seen += tokens
            seconds = time.perf_counter() - started
            rate = f"{seen / seconds:,.0f} tokens/s" if seen and seconds else ""
            bar.update(task, advance=items, rate=rate)

        yield advance


def _lines(description: str, total: int) -> Advance:
    started = said = time.perf_counter()
    done, seen = 0, 0

    def advance(items: int, tokens: int) -> None:
        nonlocal said, done, seen
        done, seen = done + items, seen + tokens
        now = time.perf_counter()
        if now - said < _LINE_EVERY_SECONDS:
            return
        said, seconds = now, now - started
        left = seconds * (total - done) / max(done, 1)
        click.echo(
            f"{description}: {done:,} of {total:,}, {seen / seconds:,.0f} tokens/s, "
            f"about {left:.0f} s left",
            err=True,
        )

    return advance
