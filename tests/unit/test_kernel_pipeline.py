"""The order of stages, and what happens when one breaks."""

import errno
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel_helpers import METHOD, Fake, FakeConfig, fresh_cli
from ragdistill import STAGES, Stage, UserError, plugins
from ragdistill.pipeline import parse_stages, run_stages
from ragdistill.run import Run


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with fresh_cli():
        yield


def run(folder: Path, *stages: Stage, **options: Any) -> Run:
    """One start of the command, and what it left."""
    Fake.calls.clear()
    config = FakeConfig(**options)
    started = Run(folder, "fake", METHOD.name, config)
    distiller = Fake(config, folder)
    started.resume(distiller.inputs())
    run_stages(METHOD, distiller, started, stages or STAGES, plugins.plugin_manager().hook)
    return started


def manifest(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return state


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        (None, STAGES),
        ("train", ("train",)),
        ("export,collect", ("collect", "export")),
        (" train , train,", ("train",)),
    ],
)
def test_stages_are_taken_in_their_own_order(text: str | None, stages: tuple[Stage, ...]) -> None:
    assert parse_stages(text) == stages


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trian", "no stage 'trian', did you mean 'train'"),
        ("", "names no stage"),
        (",", "no stage"),
    ],
)
def test_stages_that_do_not_exist_are_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse_stages(text)
    assert "collect,train,evaluate,export" in caught.value.format_message()


def test_all_stages_run_once_and_in_order(tmp_path: Path) -> None:
    run(tmp_path)
    assert Fake.calls == list(STAGES)
    run(tmp_path)
    assert Fake.calls == []


def test_stages_may_be_run_one_by_one(tmp_path: Path) -> None:
    for stage in STAGES:
        run(tmp_path, stage)
        assert Fake.calls == [stage]


def test_a_stage_needs_those_before_it(tmp_path: Path) -> None:
    run(tmp_path, "collect")
    with pytest.raises(UserError, match=r"'evaluate' needs stage 'train'.*add train to --stages"):
        run(tmp_path, "evaluate")
    assert Fake.calls == []


def test_a_run_goes_on_with_the_stage_that_failed(tmp_path: Path) -> None:
    Fake.trouble["train"] = RuntimeError("diverged")
    with pytest.raises(RuntimeError, match="diverged"):
        run(tmp_path)
    broken = manifest(tmp_path)["stages"]["train"]
    assert (broken["state"], broken["error"]) == ("failed", "RuntimeError: diverged")
    Fake.trouble.clear()
    done = run(tmp_path)
    assert Fake.calls == ["train", "evaluate", "export"]
    assert done.stage("train")["seconds"] > broken["seconds"]


def test_a_stage_cut_short_by_the_user_is_not_done(tmp_path: Path) -> None:
    Fake.trouble["collect"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert manifest(tmp_path)["stages"]["collect"]["state"] == "failed"


def test_a_stage_whose_outputs_are_gone_is_run_again_with_those_after_it(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "train.txt").unlink()
    run(tmp_path)
    assert Fake.calls == ["train", "evaluate", "export"]


def test_a_stage_does_not_stand_on_outputs_that_are_gone(tmp_path: Path) -> None:
    run(tmp_path, "collect", "train")
    (tmp_path / "train.txt").unlink()
    with pytest.raises(UserError, match=r"'evaluate' needs stage 'train'.*add train to --stages"):
        run(tmp_path, "evaluate")


def test_changed_options_redo_the_stages_that_depend_on_them(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, kinds="xml")
    assert Fake.calls == ["export"]
    run(tmp_path, kinds="xml", queries=3)
    assert Fake.calls == ["evaluate", "export"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EDQUOT, "no space left on the disk"),
        (errno.EROFS, "cannot be written (Read-only file system)"),
        (errno.EACCES, "cannot be written (Permission denied)"),
    ],
)
def test_disk_trouble_is_said_in_one_line(tmp_path: Path, number: int, said: str) -> None:
    Fake.trouble["train"] = OSError(number, "strerror")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}: {said}")):
        run(tmp_path)
    Fake.trouble.clear()
    run(tmp_path)
    assert Fake.calls == ["train", "evaluate", "export"]


def test_other_errors_of_the_system_are_not_explained_away(tmp_path: Path) -> None:
    Fake.trouble["train"] = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output error"):
        run(tmp_path)


def test_an_observer_that_fails_stops_the_run_before_the_stage(tmp_path: Path) -> None:
    class Broken:
        @plugins.hookspecs.hookimpl
        def ragdistill_stage_started(self) -> None:
            raise RuntimeError("tracker is down")

    plugins.plugin_manager().register(Broken())
    with pytest.raises(RuntimeError, match="tracker is down"):
        run(tmp_path)
    assert Fake.calls == []
