"""Runs the stages of a distillation in order: the one place that knows the order."""

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from ragdistill.distiller import STAGES, Distiller, Method, Section, Stage
from ragdistill.errors import UserError, nearest
from ragdistill.run import Run


def parse_stages(text: str | None) -> tuple[Stage, ...]:
    """``"collect,train"`` as stages in their own order; None is all of them.

    Raises:
        UserError: an unknown stage, or none.
    """
    if text is None:
        return STAGES
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in STAGES:
            raise UserError(
                f"no stage {name!r}{nearest(name, STAGES)}",
                where="--stages",
                mend=f"choose from {','.join(STAGES)}",
            )
    if not asked:
        raise UserError("names no stage", where="--stages", mend=f"choose from {','.join(STAGES)}")
    return tuple(stage for stage in STAGES if stage in asked)


def run_stages(
    method: Method,
    distiller: Distiller[Any],
    run: Run,
    stages: Sequence[Stage],
    hook: pluggy.HookRelay,
) -> dict[Stage, Mapping[str, Any]]:
    """Run what is not done yet of ``stages``; return the entry of every finished stage.

    A stage runs only when those before it are done, here or in an earlier start.

    Raises:
        UserError: an earlier stage is missing, or the disk is full or read-only.
    """
    for stage in stages:
        if run.done(stage) and _complete(run.folder, distiller.outputs(stage)):
            continue
        for before in STAGES[: STAGES.index(stage)]:
            if not run.done(before):
                raise UserError(
                    f"stage {stage!r} needs stage {before!r}, which has not been run",
                    where=run.folder,
                    mend=f"add {before} to --stages",
                )
        _run_stage(method, getattr(distiller, stage), stage, run, hook)
    return {stage: run.stage(stage) for stage in STAGES if run.done(stage)}


def _run_stage(
    method: Method,
    work: Callable[[], Section],
    stage: Stage,
    run: Run,
    hook: pluggy.HookRelay,
) -> None:
    hook.ragdistill_stage_started(method=method.name, stage=stage, folder=run.folder)
    run.start(stage)
    started = time.perf_counter()
    try:
        result = work()
    except BaseException as error:
        run.fail(stage, time.perf_counter() - started, f"{type(error).__name__}: {error}")
        if (mended := _disk_trouble(error, run.folder)) is not None:
            raise mended from error
        raise
    run.finish(stage, time.perf_counter() - started, result)
    seconds = run.stage(stage)["seconds"]
    hook.ragdistill_stage_finished(
        method=method.name, stage=stage, folder=run.folder, seconds=seconds
    )


def _disk_trouble(error: BaseException, folder: Path) -> UserError | None:
    """What a person can do about an operating-system error, or None."""
    mends = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
        errno.EROFS: "the file system is read-only; choose another --out",
        errno.EACCES: "permission denied; choose another --out",
    }
    if isinstance(error, OSError) and error.errno in mends:
        return UserError(mends[error.errno], where=error.filename or folder)
    return None


def _complete(folder: Path, outputs: Sequence[str]) -> bool:
    return all((folder / name).exists() for name in outputs)
