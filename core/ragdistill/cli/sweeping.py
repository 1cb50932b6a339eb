"""``--sweep``: the same run with other training options, and the best of them made the run itself.

Each trial is an ordinary run folder below ``RUN/sweep/``, so that it resumes as every run does; all
share the signal store. They are judged by the loss on held-out training text, never by the judged
queries: choosing by those would be training on the evaluation. optuna proposes the values of a
range and keeps the journal, which its dashboard reads.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdistill.cli.runs import Base, adopt, advanced, refuse_strangers, varied
from ragdistill.config import RunConfig, affects, as_dict
from ragdistill.distiller import Plan
from ragdistill.errors import Diverged, UserError, nearest
from ragdistill.files import sha256_json, writing
from ragdistill.run import locked, read_manifest

if TYPE_CHECKING:
    import optuna

OPTION = "--sweep"
FOLDER = "sweep"
JOURNAL = "journal.log"
Point = Mapping[str, str]
"""The swept options of a trial, their values as they would be typed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """An option that is swept: over the values listed, or from the first to the last of two."""

    values: tuple[str, ...]
    ranged: bool = False

    def distribution(self) -> "optuna.distributions.BaseDistribution":
        """As optuna names it: ranges are logarithmic, and of integers where both ends are."""
        from optuna import distributions

        if not self.ranged:
            return distributions.CategoricalDistribution(self.values)
        low, high = self.values
        if low.isdigit() and high.isdigit():
            return distributions.IntDistribution(int(low), int(high), log=True)
        return distributions.FloatDistribution(float(low), float(high), log=True)

    def __str__(self) -> str:
        return ("..." if self.ranged else "|").join(self.values)


Space = Mapping[str, Axis]


def parse(texts: Sequence[str], config: RunConfig) -> Space:
    """``["lr=1e-4,3e-4", "epochs=1..8"]`` as options and their values.

    Raises:
        UserError: not ``KEY=VALUE,VALUE`` or ``KEY=LOW..HIGH``; an option that there is not, that is
            named twice, or that no sweep can vary; a value that the option does not take, or one
            that is named twice.
    """
    known = {field.name: field for field in dataclasses.fields(config)}
    free = [name for name, field in known.items() if field.metadata.get("sweep")]
    space: dict[str, Axis] = {}
    for text in texts:
        raw, _, listed = text.partition("=")
        key = raw.strip().removeprefix("--").replace("-", "_")
        if key not in free:
            told = f"{key!r} cannot be swept" if key in known else f"no option {key!r}"
            raise UserError(
                told if key in known else told + nearest(key, free),
                where=OPTION,
                mend=f"choose from {', '.join(free) or 'none: this component has no such option'}",
            )
        if key in space:
            raise UserError(
                f"{key!r} is given twice", where=OPTION, mend="list all its values once"
            )
        space[key] = _axis(key, listed, config)
    return space


def _axis(key: str, listed: str, config: RunConfig) -> Axis:
    ranged = ".." in listed
    values = tuple(part.strip() for part in listed.split(".." if ranged else ",") if part.strip())
    if not values or (ranged and len(values) != 2):
        raise UserError(
            f"'{key}={listed}' gives no values",
            where=OPTION,
            mend=f"write {key}=VALUE,VALUE or {key}=LOW..HIGH",
        )
    made = [getattr(varied(config, {key: value}), key) for value in values]
    for place, value in enumerate(made):
        if value in made[:place]:
            raise UserError(
                f"{key}={values[place]} is named twice", where=OPTION, mend="leave one out"
            )
    if ranged and made[0] > made[1]:
        raise UserError(f"{key}={listed} goes down", where=OPTION, mend="give the lower end first")
    return Axis(values, ranged)


def points(space: Space) -> list[Point]:
    """Every combination of the values, the last option varying fastest; none where one has a range."""
    if any(axis.ranged for axis in space.values()):
        return []
    listed = (axis.values for axis in space.values())
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*listed)]


def refuse_points(base: Base, space: Space) -> None:
    """Have every combination that is listed refused now that would be refused at its turn.

    Raises:
        UserError: whatever such a run refuses at once.
    """
    for point in points(space):
        base.varied(point, base.folder).distiller().inputs()


def planned(plan: Plan, space: Space, limit: int) -> Plan:
    """The plan of one run as that of the sweep; what all trials take together is not known."""
    count = len(points(space)) or limit
    step = f"train {count} times, with {_told(space)}, and keep the best on held-out text"
    return dataclasses.replace(plan, steps=(step, *plan.steps), seconds=None)


def _told(space: Space) -> str:
    return " ".join(f"{key}={axis}" for key, axis in space.items())


def sweep(base: Base, space: Space, limit: int) -> RunConfig:
    """Carry out what is not done yet of the sweep, make the winner's run the run in ``base.folder``,
    and return its config.

    Args:
        base: the run as it is without a sweep.
        space: every combination of it is a trial; with a range in it, ``limit`` trials are proposed.
        limit: see there.

    Raises:
        UserError: optuna is missing; the folder holds something else than a sweep; whatever a trial
            raises; trials that tell no held-out loss.
    """
    _require_optuna()
    refuse_strangers(base.folder, FOLDER)
    count = len(points(space)) or limit
    with writing(base.folder), locked(base.folder / FOLDER):
        inputs = base.distiller().inputs()
        study = _study(base, space, inputs)
        while (done := len(_finished(study)) + len(_failed(study, space))) < count:
            number, point = _next(study, space)
            click.echo(f"sweep {done + 1} of {count}: {_name(point)}", err=True)
            _judged(study, number, partial(_trial, base, point, inputs))
        if not _finished(study):
            raise Diverged("every trial diverged", where=OPTION, mend="sweep lower learning rates")
        best = min(_finished(study), key=lambda trial: trial.value or 0.0)
        trials = [
            {"values": _typed(trial.params)} | _trial(base, _typed(trial.params), inputs)
            for trial in _finished(study)
        ]
        section = {"measure": "held-out loss", "trials": trials}
        with locked(base.folder):
            _adopt(base, _typed(best.params), section)
    return varied(base.config, _typed(best.params))


def _name(point: Point) -> str:
    return ",".join(f"{key}={value}" for key, value in point.items())


def _typed(params: Mapping[str, Any]) -> Point:
    """What optuna proposes, as it would be typed: no more digits than matter."""
    return {
        key: f"{value:.4g}" if isinstance(value, float) else str(value)
        for key, value in sorted(params.items())
    }


def _require_optuna() -> None:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError(
            f"needs the Python package {error.name!r}",
            where=OPTION,
            mend="pip install 'ragdistill[sweep]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _study(base: Base, space: Space, inputs: Mapping[str, str]) -> "optuna.Study":
    """The journal's study of this very sweep: another recipe, other values, models or data make
    another study. Trials that have values in common share their folder all the same.

    Raises:
        UserError: the journal is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    config = _recipe(base, as_dict(base.config))
    fixed = {key: value for key, value in config.items() if key not in space}
    values = {name: str(space[name]) for name in space}
    key = sha256_json([base.method.name, fixed, values, dict(inputs)])
    path = base.folder / FOLDER / JOURNAL
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=f"{base.component} {_told(space)} {key[:12]}",
            direction="minimize",
            load_if_exists=True,
        )
    except (ValueError, KeyError, AssertionError) as error:  # as optuna meets a torn line
        raise UserError(
            "is damaged", where=path, mend="remove it: the trials themselves are kept"
        ) from error
    # Begun anew it must not propose what it proposed before.
    study.sampler = optuna.samplers.TPESampler(seed=base.config.seed + len(study.trials))
    for point in points(space):
        study.enqueue_trial(dict(point), skip_if_exists=True)
    return study


def _finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _failed(study: "optuna.Study", space: Space) -> "list[optuna.trial.FrozenTrial]":
    """Trials that diverged; those that were broken off before they had values are none."""
    from optuna.trial import TrialState

    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in failed if trial.params.keys() == space.keys()]


def _judged(study: "optuna.Study", number: int, trial: Callable[[], Mapping[str, Any]]) -> None:
    """Tell the study what becomes of a trial; one that diverges is no reason to end the sweep."""
    from optuna.trial import TrialState

    try:
        study.tell(number, trial()["held_out"])
    except Diverged as error:
        click.echo(error.format_message(), err=True)
        study.tell(number, state=TrialState.FAIL)


def _next(study: "optuna.Study", space: Space) -> tuple[int, Point]:
    """Number and values of the trial that an earlier start broke off (the folder is locked, so none
    is under way), or of a new one."""
    from optuna.trial import TrialState

    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if left.params.keys() == space.keys():
            return left.number, _typed(left.params)
        study.tell(left.number, state=TrialState.FAIL)  # broken off before it had its values
    trial = study.ask({key: axis.distribution() for key, axis in space.items()})
    return trial.number, _typed(trial.params)


def _trial(base: Base, point: Point, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Collect and train with the values of ``point``, or find that done; its losses."""
    folder = base.folder / FOLDER / _name(point)
    one = base.varied(point, folder)
    entry = _known(base, folder, one.config, inputs) or _carried_out(one)
    losses = entry["result"].get("training", {}).get("losses", [])
    found = [row["held_out"] for row in losses if math.isfinite(row.get("held_out", math.nan))]
    if not found:
        raise UserError("tells no held-out loss to judge by", where=folder)
    return {"held_out": min(found), "seconds": entry["seconds"], "losses": losses}


def _known(
    base: Base, folder: Path, config: RunConfig, inputs: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """The training of a trial that has finished, as its run.json tells it."""
    if not (folder / "run.json").exists():
        return None
    state = read_manifest(folder)
    entry: dict[str, Any] = state.get("stages", {}).get("train", {})
    same = _recipe(base, state.get("config", {})) == _recipe(base, as_dict(config))
    same = same and state.get("inputs") == dict(inputs)
    return entry if same and entry.get("state") == "done" else None


def _carried_out(base: Base) -> Mapping[str, Any]:
    with advanced(base, ("collect", "train")) as (run, _):
        return run.stage("train")


def _adopt(base: Base, point: Point, section: Mapping[str, Any]) -> None:
    """Make the run of ``point`` the run of the folder, unless it is that already: then what came
    after training stays."""
    folder, trial = base.folder, base.folder / FOLDER / _name(point)
    state = read_manifest(trial)
    if (folder / "run.json").exists():
        known = read_manifest(folder)
        if _recipe(base, known["config"]) == _recipe(base, state["config"]):
            state = known
    state["stages"]["train"]["result"]["sweep"] = dict(section)
    fresh = state["stages"].keys() == {"collect", "train"}
    adopt(trial, folder, state, copy=fresh)


def _recipe(base: Base, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's collected signals and trained weights depend on."""
    cls = type(base.config)
    return {
        field.name: config.get(field.name)
        for field in dataclasses.fields(cls)
        if affects(cls, field.name) in ("collect", "train")
    }
