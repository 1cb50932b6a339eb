"""Two workers of Ray Data fill the store that one process fills, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_helpers import jsonl
from ragdistill.files import sha256_file
from ragdistill.signals.store import SignalStore
from ragdistill_embedder.teacher import AT_ONCE
from tiny_models import save_searched, save_tiny, texts

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
pytest.importorskip("ray.data")


def command(folder: Path, store: str, out: str, *more: str) -> list[str]:
    words = [sys.executable, "-m", "ragdistill", "embedder", "--teacher", str(folder / "teacher")]
    words += ["--student-layers", "2", "--data", str(folder / "data"), "--out", str(folder / out)]
    words += ["--store", str(folder / store), "--train-items", "200", "--device", "cpu"]
    return [*words, "--stages", "collect,train", *more]


def run(folder: Path, store: str, out: str, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        command(folder, store, out, *more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ray" not in done.stdout.lower()
    return told(folder, out)


def told(folder: Path, out: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / out / "report.json").read_text())
    return report


def stored(folder: Path, name: str) -> dict[str, dict[bytes, bytes]]:
    store = SignalStore(folder / name)
    return {
        item.id: {key: store.open(item).get([key])[0].tobytes() for key in store.open(item).keys()}  # noqa: SIM118
        for item in store.spaces()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, teacher, and what one process makes of them: the store ``one``, the run ``calm``."""
    tmp_path = tmp_path_factory.mktemp("dealt")
    save_searched(tmp_path / "data", documents=60, queries=5)
    many = [{"_id": f"x{n}", "text": text} for n, text in enumerate(texts(AT_ONCE + 500))]
    with (tmp_path / "data/corpus.jsonl").open("ab") as corpus:
        corpus.write(jsonl(many))
    save_tiny(tmp_path / "teacher")
    run(tmp_path, "one", "calm")
    return tmp_path


def test_the_store_and_the_student_are_those_of_one_process(folder: Path) -> None:
    one, two = told(folder, "calm"), run(folder, "two", "dealt", "--ray", "2")
    assert one["stages"]["collect"]["items"] == two["stages"]["collect"]["items"] > AT_ONCE
    assert one["stages"]["collect"]["tokens"] == two["stages"]["collect"]["tokens"]
    assert stored(folder, "one") == stored(folder, "two")
    ours, theirs = (
        sha256_file(folder / out / "student/model.safetensors") for out in ("calm", "dealt")
    )
    assert ours == theirs


def test_a_run_that_is_killed_goes_on(folder: Path) -> None:
    few = (
        "--ray",
        "2",
        "--method",
        "similarity",
    )  # of token states nothing: workers start twice less
    cut = command(folder, "cut", "killed", *few)
    with subprocess.Popen(cut, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as started:
        while started.poll() is None and not list((folder / "cut").rglob("journal-*")):
            time.sleep(0.02)
        os.kill(started.pid, signal.SIGKILL)
        started.communicate()
    before = sum(map(len, stored(folder, "cut").values()))
    again = run(folder, "cut", "killed", *few)
    assert before > 0
    asked, whole = (
        report["stages"]["collect"]["items"] for report in (again, told(folder, "calm"))
    )
    assert asked + before == whole
    one, two = stored(folder, "one"), stored(folder, "cut")
    assert two.keys() < one.keys()
    assert all(two[name].keys() == one[name].keys() for name in two)


def test_a_worker_says_what_is_wrong_in_one_line(folder: Path) -> None:
    done = subprocess.run(
        command(folder, "none", "lost", "--ray", "2"),
        env=os.environ | {"RAY_ADDRESS": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "--ray: reaches no Ray cluster" in done.stderr
    assert "Traceback" not in done.stderr
