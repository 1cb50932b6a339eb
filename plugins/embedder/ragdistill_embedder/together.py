"""Collection by several processes: each asks the teacher for its own part of the texts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ragdistill import processes
from ragdistill.errors import UserError
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import Space
from ragdistill_embedder.collecting import Collected, Wish
from ragdistill_embedder.collecting import collect as collect_alone


def collect(wishes: Sequence[Wish]) -> Collected:
    """Ask the teachers for everything that is not stored yet, with all processes of a joint stage.

    Which process asks for a text is settled by the text's key alone: nobody asks twice, whatever
    each has seen of the store. A teacher behind an endpoint is asked by the first process only, which
    sends several requests at a time and keeps the account.

    Raises:
        UserError: as ``collecting.collect``; the store is not the same for all processes.
    """
    count, rank = processes.count(), processes.rank()
    if count == 1:
        return collect_alone(wishes)
    refresh(wishes)
    done = collect_alone([part(wish, count, rank) for wish in wishes])
    told = processes.gathered([done.texts, done.tokens])
    refresh(wishes)
    if any(wish.unasked() for wish in wishes):
        raise UserError(
            "what the other processes collected is not in the signal store",
            where="--store",
            mend="name a place that all machines share",
        )
    return Collected(sum(texts for texts, _ in told), sum(tokens for _, tokens in told))


def part(wish: Wish, count: int, number: int) -> Wish:
    """The texts of ``wish`` that fall to process ``number`` of ``count``."""
    askers = count if wish.source.model is not None else 1
    return replace(wish, texts=[item for item in wish.texts if owner(item.text, askers) == number])


def owner(text: str, count: int) -> int:
    """Which of ``count`` askers asks for ``text``; keys are digests, so all get about as many."""
    return int.from_bytes(text_key(text)[:8], "big") % count


def refresh(wishes: Iterable[Wish]) -> None:
    """Take in what other processes have stored."""
    spaces: dict[int, Space] = {}
    for wish in wishes:
        for table in (wish.spaces, wish.windows or {}):
            spaces.update({id(space): space for space in table.values()})
    for space in spaces.values():
        space.refresh()
