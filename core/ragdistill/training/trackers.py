"""Experiment trackers: the trainer's own integrations, told where their files belong."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers.integrations import integration_utils as integrations

from ragdistill.errors import UserError, nearest

OPTION = "--report-to"
FOLDER = "trackers"
"""Where in the run folder a tracker writes that writes files."""
_PLACES = {
    "tensorboard": {"TENSORBOARD_LOGGING_DIR": "{folder}/tensorboard"},
    "wandb": {"WANDB_DIR": "{folder}"},
    "mlflow": {"MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db"},
    "trackio": {"TRACKIO_DIR": "{folder}/trackio"},
    "swanlab": {"SWANLAB_LOG_DIR": "{folder}/swanlab"},
}
"""What tells a tracker where to write, by the variable that it reads. Those not named here have a
server, or no such variable."""
_PACKAGES = {"azure_ml": "azureml.core", "flyte": "flytekit", "kubeflow": "kubeflow_training"}
"""The module of a tracker, where it has another name."""


def parse(text: str) -> tuple[str, ...]:
    """``"tensorboard,wandb"`` as the names that the trainer knows; ``"none"`` is none of them.

    Raises:
        UserError: an unknown tracker, or one whose package is not installed.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if names in {(), ("none",)}:
        return ()
    known = sorted(integrations.INTEGRATION_TO_CALLBACK)
    for name in names:
        if name not in known:
            raise UserError(
                f"no tracker {name!r}{nearest(name, known)}",
                where=OPTION,
                mend=f"choose from none, {', '.join(known)}",
            )
        if not _installed(name):
            raise UserError(
                f"{name!r} needs the Python package {_package(name)!r}",
                where=OPTION,
                mend=f"pip install {_package(name).partition('.')[0]}",
            )
    return names


def _package(name: str) -> str:
    return _PACKAGES.get(name, name)


def _installed(name: str) -> bool:
    """Whether the package of a tracker is here; one that a plugin registered with the trainer
    brings its own callback, and needs none."""
    callback = integrations.INTEGRATION_TO_CALLBACK[name]
    if callback.__module__ != integrations.__name__:
        return True
    try:
        return importlib.util.find_spec(_package(name)) is not None
    except ModuleNotFoundError:  # the package around a module
        return False


@contextmanager
def writing_to(run: Path, names: Sequence[str]) -> Iterator[None]:
    """Have the trackers ``names`` write below ``run``, unless the environment says another place."""
    folder = run.resolve() / FOLDER
    told = {
        key: place.format(folder=folder)
        for name in names
        for key, place in _PLACES.get(name, {}).items()
        if not os.environ.get(key)
    }
    if told:
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(told)
    try:
        yield
    finally:
        for key in told:
            os.environ.pop(key, None)
