"""Runs the stages of a distillation in order: the one place that knows the order."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pluggy

from ragdistill import joint
from ragdistill.distiller import STAGES, Distiller, Method, Section, Stage
from ragdistill.errors import UserError, nearest
from ragdistill.files import writing
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


def require_earlier(
    run: Run, distiller: Distiller[Any], stage: Stage, planned: Sequence[Stage] = ()
) -> None:
    """Check that every stage before ``stage`` is done and what it left is there, or that it is
    among those that are ``planned``.

    Raises:
        UserError: one is not.
    """
    for before in STAGES[: STAGES.index(stage)]:
        if before in planned or _finished(run, distiller, before):
            continue
        state = "whose outputs are gone" if run.done(before) else "which has not been run"
        raise UserError(
            f"stage {stage!r} needs stage {before!r}, {state}",
            where=run.folder,
            mend=f"add {before} to --stages",
        )


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
        if _finished(run, distiller, stage):
            continue
        require_earlier(run, distiller, stage)
        _run_stage(method, partial(joint.work, distiller, stage), stage, run, hook)
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
        with writing(run.folder):
            result = work()
    except BaseException as error:
        with suppress(OSError):  # a full disk cannot take this note, either
            run.fail(stage, time.perf_counter() - started, f"{type(error).__name__}: {error}")
        raise
    run.finish(stage, time.perf_counter() - started, result)
    seconds = run.stage(stage)["seconds"]
    hook.ragdistill_stage_finished(
        method=method.name, stage=stage, folder=run.folder, seconds=seconds
    )


def _finished(run: Run, distiller: Distiller[Any], stage: Stage) -> bool:
    """Whether ``stage`` is done and what it left is still there."""
    return run.done(stage) and all(
        (run.folder / name).exists() for name in distiller.outputs(stage)
    )
