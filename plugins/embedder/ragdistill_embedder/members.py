"""What ``--frontier`` lists: students of one teacher by their layers, and a static one."""

from ragdistill.cli.frontier import OPTION, Members
from ragdistill.errors import UserError, nearest
from ragdistill_embedder.config import STATIC


def read_members(text: str) -> Members:
    """``"3,2,0+2+5,static"`` as students: three layers, two, those named, and none.

    The static one comes last: it asks the teacher for nothing that the others do not, but they for
    token states too.

    Raises:
        UserError: an item that is none of these, the same twice, or fewer than two.
    """
    members: dict[str, dict[str, str | None]] = {}
    for item in (part.strip() for part in text.split(",")):
        name, options = _member(item)
        if name in members:
            raise UserError(f"{item!r} is named twice", where=OPTION, mend="leave one out")
        members[name] = options
    if len(members) < 2:
        raise UserError(
            f"{text!r} leaves nothing to compare",
            where=OPTION,
            mend="list two or more, as 3,2,static",
        )
    return dict(sorted(members.items(), key=lambda member: member[0] == STATIC))


def _member(item: str) -> tuple[str, dict[str, str | None]]:
    """The name of an item, one for all spellings, and the options that make it."""
    if item == STATIC:
        return STATIC, {"student": STATIC, "student_layers": None}
    numbers = item.split("+")
    if not all(number.isdecimal() for number in numbers):
        raise UserError(
            f"{item!r} is no student{nearest(item, [STATIC])}",
            where=OPTION,
            mend=f"list numbers of layers, layers as 0+2+5, and {STATIC}",
        )
    plain = [str(int(number)) for number in numbers]
    return "+".join(plain), {"student": None, "student_layers": ",".join(plain)}
