"""Several models in one option, and how much each of them counts."""

from pathlib import Path

from ragdistill.errors import UserError

_WHERE = "--teacher-weights"


def named(teacher: str) -> tuple[str, ...]:
    """What ``--teacher`` names: models with commas between them; a folder may have a comma in its own
    name.

    Raises:
        UserError: there is nothing between two commas.
    """
    if "," not in teacher or Path(teacher).exists():
        return (teacher,)
    names = tuple(name.strip() for name in teacher.split(","))
    if not all(names):
        raise UserError(
            f"{teacher!r} names nothing between commas",
            where="--teacher",
            mend="name models, as A,B",
        )
    return names


def parse_weights(text: str | None, teachers: int) -> tuple[float, ...] | None:
    """``--teacher-weights`` as shares that sum to 1; None where they are to be chosen.

    Raises:
        UserError: not a number above 0 for each of the ``teachers``.
    """
    if text is None:
        return None
    if teachers == 1:
        raise UserError("there is one teacher", where=_WHERE, mend="leave it out")
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    total = sum(found)
    shares = [value / total for value in found] if 0 < total < float("inf") else []
    if len(shares) != teachers or not all(share > 0 for share in shares):
        raise UserError(
            f"{text!r} is not {teachers} numbers above 0",
            where=_WHERE,
            mend="give one for each teacher, as 2,1, or leave it out to have them chosen",
        )
    return tuple(shares)
