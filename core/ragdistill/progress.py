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
def track(description: str, total: int, *, refreshing: bool = True) -> Iterator[Advance]:
    """Show that ``total`` items are worked through; yields what counts them.

    Args:
        refreshing: whether a bar is drawn anew in between, by a thread of its own: not beside what is
            timed.
    """
    if processes.rank():
        yield lambda items, tokens: None  # The first process tells for all.
    elif sys.stderr.isatty():
        with _bar(description, total, refreshing) as advance:
            yield advance
    else:
        yield _lines(description, total)


@contextmanager
def _bar(description: str, total: int, refreshing: bool) -> Iterator[Advance]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(
        *columns, console=console, transient=True, auto_refresh=refreshing
    ) as bar:
        task = bar.add_task(description, total=total, rate="")
        started, seen = time.perf_counter(), 0

        def advance(items: int, tokens: int) -> None:
            nonlocal seen
            seen += tokens
            seconds = time.perf_counter() - started
            rate = f"{seen / seconds:,.0f} tokens/s" if seen and seconds else ""
            bar.update(task, advance=items, rate=rate, refresh=not refreshing)

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
        rate = f" {seen / seconds:,.0f} tokens/s," if seen else ""
        click.echo(f"{description}: {done:,} of {total:,},{rate} about {left:.0f} s left", err=True)

    return advance
