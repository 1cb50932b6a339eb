"""The run folder: its manifest, its lock, and what may be resumed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel_helpers import FakeConfig
from ragdistill import STAGES, UserError, config, files
from ragdistill.run import SCHEMA, Run, locked, read_manifest

INPUTS = {"teacher": "a" * 64, "data": "b" * 64, "eval_data": "c" * 64}


def start(folder: Path, inputs: dict[str, str] | None = None, **options: Any) -> Run:
    run = Run(folder, "fake", "fake/plain", FakeConfig(**options))
    run.resume(inputs or INPUTS)
    return run


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder in which every stage is done."""
    run = start(tmp_path)
    for stage in STAGES:
        run.start(stage)
        run.finish(stage, 1.5, {"items": 2})
    return tmp_path


def test_run_json_says_what_the_run_is(finished: Path) -> None:
    state = json.loads((finished / "run.json").read_text())
    assert state["schema"] == SCHEMA
    assert (state["component"], state["method"], state["seed"]) == ("fake", "fake/plain", 0)
    assert state["inputs"] == INPUTS
    assert state["config"]["layers"] == ["a", "b"]
    assert state["versions"].keys() >= {"python", "ragdistill", "torch"}
    assert state["stages"]["train"] == {"state": "done", "seconds": 1.5, "result": {"items": 2}}


def test_a_run_can_be_repeated_from_its_saved_config(tmp_path: Path) -> None:
    made = start(tmp_path, width=9, gate=0.5)
    made.save()
    assert config.resolve(FakeConfig, tmp_path / "config.yaml", {}) == FakeConfig(width=9, gate=0.5)


def test_the_same_command_takes_over_every_finished_stage(finished: Path) -> None:
    assert all(start(finished).done(stage) for stage in STAGES)


def test_resuming_writes_nothing(finished: Path) -> None:
    before = (finished / "run.json").read_bytes()
    with pytest.raises(UserError):
        start(finished, width=5)
    start(finished)
    assert (finished / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher": "U"}, "was started with --teacher T, not U"),
        ({"width": 5}, "was started with --width 4, not 5"),
        ({"layers": ("a",)}, "was started with --layers"),
        ({"train_items": 3}, "was started without --train-items, not with 3"),
    ],
)
def test_options_under_collected_or_trained_things_are_refused(
    finished: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        start(finished, **options)
    assert str(finished) in caught.value.format_message()
    assert "choose another --out" in caught.value.format_message()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"gate": 0.5, "device": "cpu", "store": "elsewhere"}, 4),
        ({"kinds": "xml"}, 3),
        ({"queries": 7}, 2),
        ({"kinds": "xml", "queries": 7}, 2),
    ],
)
def test_options_of_later_stages_void_those_stages_only(
    finished: Path, options: dict[str, Any], kept: int
) -> None:
    run = start(finished, **options)
    assert [run.done(stage) for stage in STAGES] == [n < kept for n in range(4)]


def test_other_models_and_training_data_are_refused_with_both_digests(finished: Path) -> None:
    with pytest.raises(UserError, match=f"the teacher is not the one.*then {'a' * 16}, now d"):
        start(finished, INPUTS | {"teacher": "d" * 64})


def test_other_evaluation_data_are_refused_for_they_decide_what_is_learnt_from(
    finished: Path,
) -> None:
    with pytest.raises(UserError, match="was started without --eval-data, not with other"):
        start(finished, INPUTS | {"eval_data": "d" * 64}, eval_data="other")


def test_a_run_of_another_component_is_refused(finished: Path) -> None:
    run = Run(finished, "other", "other/plain", FakeConfig())
    with pytest.raises(UserError, match="holds a run of component 'fake', not 'other'"):
        run.resume(INPUTS)
    run = Run(finished, "fake", "fake/other", FakeConfig())
    with pytest.raises(UserError, match="holds a run of method 'fake/plain', not 'fake/other'"):
        run.resume(INPUTS)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not empty and holds no run\.json \(thesis\.tex"):
        start(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "is no run manifest"),
        ("{}", "is no run manifest"),
        (f'{{"schema": {SCHEMA + 1}}}', f"written by a newer ragdistill.*known {SCHEMA}.*upgrade"),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=said):
        start(tmp_path)
    with pytest.raises(UserError, match=said):
        read_manifest(tmp_path)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run\.json"):
        read_manifest(tmp_path)


def test_seconds_of_broken_attempts_accumulate_and_redone_stages_begin_at_zero(
    tmp_path: Path,
) -> None:
    run = start(tmp_path)
    run.start("collect")
    run.fail("collect", 2.0, "KeyboardInterrupt: ")
    again = start(tmp_path)
    again.start("collect")
    again.finish("collect", 3.0, {})
    assert again.stage("collect")["seconds"] == 5.0
    again.start("collect")
    again.finish("collect", 1.0, {})
    assert again.stage("collect")["seconds"] == 1.0


def test_starting_a_stage_again_voids_those_after_it(finished: Path) -> None:
    run = start(finished)
    run.start("train")
    assert [run.done(stage) for stage in STAGES] == [True, False, False, False]


def test_the_manifest_is_replaced_whole_or_not_at_all(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished / "run.json").read_bytes()

    def cut_off(self: Path, text: str, **kwargs: str) -> None:
        self.write_bytes(text.encode()[:20])
        raise OSError(28, "No space left on device")

    run = start(finished)
    monkeypatch.setattr(Path, "write_text", cut_off)
    with pytest.raises(OSError, match="No space left"):
        run.start("train")
    assert (finished / "run.json").read_bytes() == before
    assert not list(finished.glob(".*.tmp"))


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


HOLD = """
import sys
from pathlib import Path
from ragdistill.run import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds ``tmp_path / "run"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_refuses_and_names_the_first(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    said = rf"run: is in use by process {holder.pid} on .+ since .+; wait for it"
    with pytest.raises(UserError, match=said), locked(tmp_path / "run"):
        pytest.fail("two processes hold one run folder")


def test_a_killed_process_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / ".owner").read_text()
    assert not (tmp_path / "run" / ".owner").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/run: cannot be written.*choose another --out"),
        locked(tmp_path / "file" / "run"),
    ):
        pytest.fail("locked a folder in a file")
