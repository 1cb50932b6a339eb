"""What a row of tests/unit/test_bad_input.py is."""

from dataclasses import dataclass

from bad_input_scenes import Set


@dataclass(frozen=True)
class Case:
    """One row: how the scene is set, what is typed, and the words that the one line must have."""

    name: str
    spoil: Set
    arguments: str
    words: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    """Folders in which whole files may be new: those of a run that had begun."""


def case(name: str, spoil: Set, arguments: str, *words: str, leaves: tuple[str, ...] = ()) -> Case:
    return Case(name, spoil, arguments, words, leaves)


BEGUN = ("run", "store")
"""Where a run that had begun leaves files."""
