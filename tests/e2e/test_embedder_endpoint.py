"""Killed while the endpoint is at work: the same command goes on, and nothing is paid for twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from endpoint_helpers import Endpoint, serving
from ragdistill_embedder.endpoint.identity import PROBES
from tiny_models import save_searched, save_tiny

_COMMAND = [sys.executable, "-c", "from ragdistill.cli import main; main()", "embedder"]


@pytest.mark.e2e
def test_a_collection_that_was_killed_goes_on_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    save_searched(tmp_path / "data", documents=40, queries=10)
    save_tiny(tmp_path / "student", seed=1)
    with serving(save_tiny(tmp_path / "teacher"), key="sk-live") as endpoint:
        endpoint.hold_after = 12
        killed = _start(tmp_path, endpoint)
        _wait_until_held(endpoint, killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        paid = endpoint.delivered.copy()
        assert sum(paid.values()) > len(PROBES)
        endpoint.hold.set()
        done = _start(tmp_path, endpoint)
        assert done.wait(120) == 0, (tmp_path / "log").read_text()
        # Those that were held back when the process died were delivered to nobody.
        twice = {text: count for text, count in endpoint.delivered.items() if count > 1}
        assert twice.keys() <= {*PROBES, *(endpoint.delivered.keys() - paid.keys())}
        assert (endpoint.delivered.keys() - paid.keys()) > set()


def _start(folder: Path, endpoint: Endpoint) -> "subprocess.Popen[bytes]":
    words = ["--teacher", "openai:tiny", "--teacher-url", endpoint.url, "--student", "student"]
    words += ["--data", "data", "--store", "store", "--out", "run", "--stages", "collect"]
    words += ["--teacher-batch", "2", "--teacher-concurrency", "4"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENAI_API_KEY": "sk-live",
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*_COMMAND, *words], cwd=folder, env=environment, stdout=log, stderr=log
        )


def _wait_until_held(endpoint: Endpoint, process: "subprocess.Popen[bytes]") -> None:
    """Until the server keeps every connection waiting, and what it has answered can be stored."""
    until = time.monotonic() + 120
    while endpoint.requests < endpoint.answered + 4 or endpoint.answered < 12:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.5)
