"""Several processes that work on one run, as ``torchrun`` and ``accelerate launch`` start them.

They talk in two ways. What a run needs (whose turn it is, who failed, what was counted) goes through
the rendezvous store of torch.distributed, as JSON: waiting there for hours is no fault. What
training needs goes through the process group. Nothing heavy is imported until there are two.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ragdistill.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_PARTING = timedelta(seconds=5)
_PATIENCE = timedelta(days=7)
"""The first process may evaluate for as long while the others wait."""


class Stopped(SystemExit):
    """The first process has ended, and so shall this one; it has said why."""


class _Team:
    """What this process knows of the others."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.turn = 0
        self.joint = False


_team = _Team()


def launched() -> int:
    """How many processes were started for this command.

    Raises:
        UserError: the environment speaks of several, and does not say how they find each other.
    """
    size = _number("WORLD_SIZE", default=1)
    if size == 1:
        return 1
    for name in _NEEDED:
        if name not in os.environ:
            raise UserError(
                f"speaks of {size} processes, but {name} is not set",
                where="WORLD_SIZE",
                mend="start them with torchrun, or unset WORLD_SIZE",
            )
    if not 0 <= _number("RANK") < size:
        raise UserError(
            f"{os.environ['RANK']} is not below WORLD_SIZE, {size}",
            where="RANK",
            mend="start the processes with torchrun",
        )
    return size


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal() or (name == "WORLD_SIZE" and int(text) < 1):
        raise UserError(
            f"{text!r} is no number of processes", where=name, mend="start them with torchrun"
        )
    return int(text)


def rank() -> int:
    """Number of this process; 0 leads."""
    return _number("RANK") if launched() > 1 else 0


def count() -> int:
    """How many processes work at what this one is doing: 1 outside of a joint stage."""
    return launched() if _team.joint else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Find the other processes; models of this one go to a ``device`` of its own.

    Raises:
        UserError: there are more processes on this machine than devices.
    """
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    local = _number("LOCAL_RANK")
    if device in ("auto", "cuda") and torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise UserError(
                f"{torch.cuda.device_count()} here, and process {local} would need one more",
                where="--device",
                mend="start fewer processes on this machine, or give --device cpu",
            )
        torch.cuda.set_device(local)
    store, number, size = next(iter(rendezvous("env://")))
    # With no backend named, tensors on GPUs go through NCCL, those in main memory through Gloo.
    group = PrefixStore("group", store)
    distributed.init_process_group(store=group, rank=number, world_size=size)
    words = PrefixStore("ragdistill", store)
    _team.store, _team.turn = words, 0
    try:
        yield
    finally:
        _part(words, number, size)
        _team.store = None
        distributed.destroy_process_group()


def _part(store: "Store", number: int, size: int) -> None:
    """End last, if this process keeps the store that the others still read."""
    with suppress(RuntimeError):
        if number:
            store.set(f"bye/{number}", "")
        elif size > 1:
            store.wait([f"bye/{other}" for other in range(1, size)], _PARTING)


@contextmanager
def together() -> Iterator[None]:
    """A joint stage: all processes are in it."""
    _team.joint = True
    try:
        yield
    finally:
        _team.joint = False


def gathered(value: Any = None) -> list[Any]:
    """What each process says here, by rank; returns when all have. Without a value, a barrier.

    Args:
        value: anything that JSON can say.

    Raises:
        Stopped: the first process has ended.
        UserError: another one has failed; its words.
    """
    said = _exchange({"say": value})
    for number, told in enumerate(said):
        if "stop" not in told:
            continue
        if number == 0:
            raise Stopped(told["stop"])
        raise UserError(f"process {number}: {told['why']}")
    return [told["say"] for told in said]


def stop(status: int, why: str = "") -> None:
    """Tell the others, wherever they wait next, that this process ends, and do not wait."""
    if _team.store is not None:
        _say({"stop": status, "why": why})


def _say(words: Any) -> None:
    if _team.store is not None:
        _team.store.set(f"{_team.turn}/{rank()}", json.dumps(words))


def _exchange(words: Any) -> list[Any]:
    store = _team.store
    if store is None:
        return [words]
    _say(words)
    keys = [f"{_team.turn}/{number}" for number in range(launched())]
    heard = []
    for key in keys:  # the first process first: what it says of an end is the reason of the others
        store.wait([key], _PATIENCE)
        heard.append(json.loads(store.get(key)))
        if "stop" in heard[-1]:
            break
    _team.turn += 1
    return heard
