"""What a person can mend, said in one line: what, where, and how to mend it."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def printable(text: str) -> str:
    """``text`` as a terminal may have it: names of files and words of strangers can hold what would move
    its cursor or hide a line."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


class UserError(click.ClickException):
    """Bad usage or bad input: on the command line one line and exit status 2, never a traceback.

    ``what`` says what is wrong, ``where`` the file (with ``:line`` where known) or option at fault,
    ``mend`` what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, mend: str = "") -> None:
        place = f"{where}: " if where is not None else ""
        remedy = f"; {mend}" if mend else ""
        super().__init__(printable(" ".join(f"{place}{what}{remedy}".split())))


class Diverged(UserError):
    """Training that came to nothing: its loss is no number."""


@contextmanager
def loading(path: Path, kind: str) -> Iterator[None]:
    """Have whatever a stranger's folder makes the libraries raise said in one line.

    Raises:
        UserError: in place of any error within: ``path`` does not load as a ``kind``.
    """
    try:
        yield
    except Exception as error:
        raise UserError(
            f"does not load as a {kind}: {error}",
            where=path,
            mend="check that its files belong together, or choose another model",
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the known name nearest to ``name``, or ``""``."""
    lowered = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name.casefold(), lowered, n=1, cutoff=0.55)
    return f", did you mean {lowered[close[0]]!r}?" if close else ""
