"""The run folder: its manifest, its lock, and what may be resumed."""

import json
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeGuard

from ragdistill.config import RunConfig, affects, as_dict, flag, to_yaml
from ragdistill.distiller import STAGES, Section, Stage
from ragdistill.errors import UserError
from ragdistill.files import write_json, write_text

SCHEMA = 1
_VERSIONED = ("ragdistill", "torch", "transformers", "sentence-transformers", "onnxruntime")


class Run:
    """``RUN/run.json`` and what it says: the resolved config, the digests of what the run stands
    on, versions, and for each stage its state, seconds and result. Written atomically."""

    def __init__(self, folder: Path, component: str, method: str, config: RunConfig) -> None:
        self.folder = folder
        self._config = config
        self._state: dict[str, Any] = {
            "schema": SCHEMA,
            "component": component,
            "method": method,
            "config": as_dict(config),
            "inputs": {},
            "versions": versions(),
            "seed": config.seed,
            "stages": {},
        }

    @property
    def manifest(self) -> Path:
        """Where run.json is."""
        return self.folder / "run.json"

    def resume(self, inputs: Mapping[str, str]) -> None:
        """Take over the finished stages of an earlier start of this same run.

        Raises:
            UserError: the folder holds a run of another component, config or input, or a
                manifest that cannot be read or is of a newer version.
        """
        self._state["inputs"] = dict(inputs)
        if not self.manifest.exists():
            _refuse_other_files(self.folder)
            return
        found = read_manifest(self.folder)
        for key in ("component", "method"):
            if found.get(key) != self._state[key]:
                raise UserError(
                    f"holds a run of {key} {found.get(key)!r}, not {self._state[key]!r}",
                    where=self.folder,
                    mend="choose another --out",
                )
        redo = self._redo_from(found.get("config", {}))
        self._refuse_other_inputs(found.get("inputs", {}))
        stages: dict[str, Any] = found.get("stages", {})
        for stage in STAGES[redo:]:
            stages.pop(stage, None)
        self._state["stages"] = stages

    def _refuse_other_inputs(self, known: Mapping[str, str]) -> None:
        for name, digest in self._state["inputs"].items():
            if known.get(name, digest) != digest:
                raise UserError(
                    f"the {name} is not the one this run was started with: then {known[name][:16]}, "
                    f"now {digest[:16]}",
                    where=self.folder,
                    mend="bring the former back, or choose another --out",
                )

    def _redo_from(self, former: Mapping[str, Any]) -> int:
        """Index of the first stage that the changed options make void; refuses what would void
        collected signals or trained weights."""
        cls = type(self._config)
        first = len(STAGES)
        for key, value in self._state["config"].items():
            if key not in former or former[key] == value:
                continue
            stage = affects(cls, key)
            if stage in ("collect", "train"):
                raise UserError(
                    f"was started {_other(flag(key), former[key], value)}",
                    where=self.folder,
                    mend="give the former value, or choose another --out",
                )
            if stage != "report":
                first = min(first, STAGES.index(stage))
        return first

    def save(self) -> None:
        """Write run.json, and config.yaml for ``--config``."""
        write_json(self.manifest, self._state)
        write_text(self.folder / "config.yaml", to_yaml(self._config))

    def done(self, stage: Stage) -> bool:
        """Whether ``stage`` has finished in this or an earlier start."""
        return bool(self._state["stages"].get(stage, {}).get("state") == "done")

    def start(self, stage: Stage) -> None:
        """Note that ``stage`` has begun: seconds of earlier, broken attempts are kept, and the
        stages after it are void."""
        stages = self._state["stages"]
        former = stages.get(stage, {})
        seconds = 0.0 if former.get("state") == "done" else former.get("seconds", 0.0)
        for later in STAGES[STAGES.index(stage) + 1 :]:
            stages.pop(later, None)
        stages[stage] = {"state": "running", "seconds": seconds}
        self.save()

    def finish(self, stage: Stage, seconds: float, result: Section) -> None:
        """Note that ``stage`` has ended, how long it took, and what it adds to the report."""
        entry = self._state["stages"][stage]
        entry.update(state="done", seconds=entry["seconds"] + seconds, result=dict(result))
        self.save()

    def fail(self, stage: Stage, seconds: float, error: str) -> None:
        """Note that ``stage`` broke off, and why."""
        entry = self._state["stages"][stage]
        entry.update(state="failed", seconds=entry["seconds"] + seconds, error=error)
        self.save()

    def stage(self, stage: Stage) -> Mapping[str, Any]:
        """The entry of ``stage`` in run.json: state, seconds, result."""
        entry: Mapping[str, Any] = self._state["stages"].get(stage, {})
        return entry

    @property
    def state(self) -> Mapping[str, Any]:
        """All of run.json."""
        return self._state


def read_manifest(folder: Path) -> dict[str, Any]:
    """``folder/run.json``.

    Raises:
        UserError: it is missing, damaged, or written by a newer ragdistill.
    """
    path = folder / "run.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("holds no run.json", where=folder, mend="name a run's folder") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot be read: {error}", where=path, mend="restore it, or choose another --out"
        ) from error
    if not _is_manifest(state):
        raise UserError("is no run manifest", where=path, mend="choose another --out")
    if state["schema"] > SCHEMA:
        raise UserError(
            f"was written by a newer ragdistill (schema {state['schema']}, known {SCHEMA})",
            where=path,
            mend="upgrade ragdistill",
        )
    return state


def refuse_strangers(folder: Path, component: str) -> None:
    """Never write a run of ``component`` into a folder that holds something else.

    Raises:
        UserError: it does, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=folder, mend="choose another --out")
    if not (folder / "run.json").exists():
        _refuse_other_files(folder)
    elif (found := read_manifest(folder).get("component")) != component:
        raise UserError(
            f"holds a run of component {found!r}", where=folder, mend="choose another --out"
        )


def _refuse_other_files(folder: Path) -> None:
    others = sorted(p.name for p in folder.iterdir() if p.name[0] != ".") if folder.is_dir() else []
    if others:
        raise UserError(
            f"is not empty and holds no run.json ({others[0]} is there)",
            where=folder,
            mend="choose another --out",
        )


def _is_manifest(state: Any) -> TypeGuard[dict[str, Any]]:
    """Whether what was read has the form of a manifest, of whatever version."""
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int):
        return False
    tables = [state.get(key, {}) for key in ("config", "inputs", "stages")]
    return all(isinstance(table, dict) for table in tables) and all(
        isinstance(entry, dict) for entry in tables[-1].values()
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the operating system lets go when the process ends,
    however it ends.

    Raises:
        UserError: another process holds it (that process is named), or it cannot be written.
    """
    import filelock

    owner = folder / ".owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
        raise UserError(
            f"is in use by {who}", where=folder, mend="wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}",
            where=folder,
            mend="choose another --out",
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_text(owner, f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def versions() -> dict[str, str]:
    """Of Python, and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _other(option: str, former: Any, value: Any) -> str:
    """How a run was started, and how it is not to go on."""
    if former is None:
        return f"without {option}, not with {value}"
    return f"with {option} {former}, not {'without it' if value is None else value}"
