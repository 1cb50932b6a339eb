"""One run by several processes: the first runs it, the others take part in its joint stages.

The first process alone holds the run folder, evaluates, exports and writes. The others wait until it
calls them into a stage that its distiller names as joint.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ragdistill import processes
from ragdistill.config import RunConfig, as_dict, flag
from ragdistill.distiller import Distiller, Section, Stage
from ragdistill.errors import UserError

SHARED_WITHIN = 60.0
"""Seconds after which a file that another machine has written must be seen: what network file
systems need at most, as they are usually set."""
_FREE = ("device",)
"""Options that may differ from machine to machine."""


def work(distiller: Distiller[Any], stage: Stage) -> Section:
    """Run ``stage``: with all processes if it is a joint one, in this one alone if not.

    Raises:
        UserError: another process failed, or is gone.
    """
    run: Callable[[], Section] = getattr(distiller, stage)
    if stage not in distiller.joint or processes.launched() == 1:
        return run()
    processes.gathered(stage)
    return _together(distiller, run)


def meet(config: RunConfig, inputs: Mapping[str, str]) -> None:
    """Let the other processes begin, and check that they are about the same run.

    Raises:
        UserError: one of them was started otherwise, or finds other models or data.
    """
    if processes.launched() == 1:
        return
    mine = {"config": as_dict(config), "inputs": dict(inputs)}
    processes.gathered("begin")
    for number, theirs in enumerate(processes.gathered(mine)):
        for key, value in mine["config"].items():
            if key not in _FREE and theirs["config"].get(key) != value:
                raise UserError(
                    f"process {number} was started with {theirs['config'].get(key)}, not {value}",
                    where=flag(key),
                    mend="start all processes with the same options",
                )
        for name, digest in mine["inputs"].items():
            if theirs["inputs"].get(name) != digest:
                raise UserError(
                    f"process {number} finds another {name} there",
                    where=mine["config"].get(name) or flag(name),
                    mend="bring the machines to one state",
                )


def follow(make: Callable[[], Distiller[Any]], config: RunConfig, folder: Path) -> int:
    """What every process but the first does; return its exit status.

    Raises:
        UserError: something is wrong in this process only.
    """
    try:
        processes.gathered()  # The first looks at everything first: it fetches, and complains, alone.
        distiller = make()
        processes.gathered({"config": as_dict(config), "inputs": dict(distiller.inputs())})
        while True:
            stage: Stage = processes.gathered()[0]
            _await(folder / "run.json")
            _together(distiller, getattr(distiller, stage))
    except processes.Stopped:
        return 0  # The first tells its own status; an earlier end would have it killed by torchrun.


def lead(run: Callable[[], int]) -> int:
    """``run`` in the first process; whatever becomes of it, the others are told."""
    try:
        status = run()
    except click.ClickException as error:
        processes.stop(error.exit_code)
        raise
    except BaseException:
        processes.stop(1)
        raise
    processes.stop(status)
    return status


def launch(run: Callable[[], int], follower: Callable[[], int], device: str) -> int:
    """``run`` in the first process, ``follower`` in the others."""
    with processes.joined(device):
        if processes.rank() == 0:
            return lead(run)
        try:
            return follower()
        except BaseException as error:
            why = error.format_message() if isinstance(error, UserError) else repr(error)
            processes.stop(2, why)
            raise


def _together(distiller: Distiller[Any], run: Callable[[], Section]) -> Section:
    with processes.together():
        try:
            return run()
        except RuntimeError as error:
            # As Gloo tells that a process at the other end has died.
            if "peer" not in str(error):
                raise
            raise UserError(
                f"process {processes.rank()} has lost another one",
                where=distiller.folder,
                mend="see what that one said; the same command goes on from the last checkpoint",
            ) from error


def _await(manifest: Path) -> None:
    """Wait until the manifest of the first process is seen here.

    Raises:
        UserError: it is not; the folder is another one.
    """
    until = time.monotonic() + SHARED_WITHIN
    while not manifest.exists():
        if time.monotonic() > until:
            raise UserError(
                f"is not the folder that the first process writes: no {manifest.name} is here",
                where=manifest.parent,
                mend="give an --out that all machines share",
            )
        time.sleep(0.1)
