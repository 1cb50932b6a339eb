"""What tests call in a process of its own."""

import os

from ragdistill.errors import UserError


def refuse(asked: str) -> None:
    raise UserError("no good", where=asked, mend="bring another")


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def chatter(asked: int) -> list[int]:
    """Says on stdout what is no answer."""
    print("a library's own words")
    return [asked, os.getpid()]
