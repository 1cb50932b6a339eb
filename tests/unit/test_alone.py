"""A function in a process of its own: what it says, refuses or dies of, and that it outlives no caller."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragdistill import alone
from ragdistill.errors import UserError


def test_it_answers_from_another_process(capfd: pytest.CaptureFixture[str]) -> None:
    said, process = alone.call("alone_helpers:chatter", 7)
    assert said == 7
    assert process != os.getpid()
    assert "own words" in capfd.readouterr().err


def test_what_is_refused_is_refused_here() -> None:
    with pytest.raises(UserError, match=r"^x\.yaml: no good; bring another$"):
        alone.call("alone_helpers:refuse", "x.yaml")


def test_what_ends_without_a_word_has_died(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(alone.Died, match="-9"):
        alone.call("alone_helpers:die", signal.SIGKILL)
    with pytest.raises(alone.Died, match="1"):
        alone.call("json:nothing", None)
    assert "AttributeError" in capfd.readouterr().err


def test_one_that_ends_before_it_is_asked_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(alone.Died):
        alone.call("json:dumps", "x" * 10_000_000)  # more than a pipe holds


def test_an_answer_that_is_cut_off_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nread line\nprintf '{\"said\": [1, '\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(alone.Died):
        alone.call("json:dumps", 1)


def test_it_ends_when_its_caller_does() -> None:
    """A caller that is killed closes the pipe, and says nothing more."""
    command = [sys.executable, "-m", "ragdistill.alone"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps({"target": "time:sleep", "asked": 600}).encode() + b"\n")
        child.stdin.close()
        assert child.wait(60) == 1
