"""A run by two processes under torchrun is the run of one: store, steps, losses and student."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragdistill.encoder import load_encoder
from ragdistill.files import sha256_file
from ragdistill.signals.store import SignalStore
from tiny_models import save_searched, save_tiny, texts

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def command(folder: Path, out: str, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    words = ["--data", str(folder / "data"), "--out", str(folder / out), "--device", "cpu"]
    words += ["--store", str(folder / f"store-{out.partition('-')[0]}")]
    # Batches of one text are among these, so that one process has no share.
    words += ["--epochs", "4", "--batch-tokens", "56", "--stages", "collect,train", *more]
    return [sys.executable, *launcher, "-m", "ragdistill", "embedder", *words]


def run(folder: Path, out: str, *more: str, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    done = subprocess.run(
        command(folder, out, *more, launcher=launcher), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((folder / out / "report.json").read_text())
    return report


def spaces(folder: Path, out: str) -> dict[str, tuple[int, dict[bytes, Any]]]:
    """Of each space the stored records, twins counted, and what is stored under each key."""
    store = SignalStore(folder / f"store-{out}")
    opened = {item.id: (item.rows, store.open(item)) for item in store.spaces()}
    return {
        name: (rows or 0, {key: space.get([key])[0] for key in space.keys()})  # noqa: SIM118
        for name, (rows, space) in opened.items()
    }


def same_store(folder: Path) -> None:
    one, two = spaces(folder, "one"), spaces(folder, "two")
    assert one.keys() == two.keys()
    for name, (rows, known) in one.items():
        again, found = two[name]
        assert known.keys() == found.keys()
        assert rows == again == len(known)  # nothing was asked twice
        for key, value in known.items():
            ours, theirs = np.ravel(value), np.ravel(found[key])
            cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
            assert cosine > 1 - 1e-5


def same_training(folder: Path, one: dict[str, Any], two: dict[str, Any]) -> None:
    for key in ("steps", "held_out_items", "token_states"):
        assert one["training"][key] == two["training"][key]
    for stage in ("collect", "train"):
        for key in ("items", "tokens"):
            assert one["stages"][stage][key] == two["stages"][stage][key]
    for ours, theirs in zip(one["training"]["losses"], two["training"]["losses"], strict=True):
        # The sums run in another order: float32 rounding (6e-8), which grows from step to step. In
        # 340 steps it grew to 1e-5.
        assert ours == pytest.approx(theirs, rel=1e-4)
    vectors = [
        load_encoder(folder / out / "student", "cpu").encode(texts(60)) for out in ("one", "two")
    ]
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.999


def make(folder: Path) -> None:
    save_searched(folder / "data", documents=60, queries=5)
    corpus = folder / "data/corpus.jsonl"
    long = [" ".join(texts(60)[n : n + 3]) for n in range(3)]
    rows = [json.dumps({"_id": f"long{n}", "text": text}) + "\n" for n, text in enumerate(long)]
    corpus.write_text(corpus.read_text() + "".join(rows))


def test_states_and_similarities(tmp_path: Path) -> None:
    make(tmp_path)
    models = ("--teacher", str(save_tiny(tmp_path / "teacher")), "--student-layers", "2")
    one, two = run(tmp_path, "one", *models), run(tmp_path, "two", *models, launcher=TORCHRUN)
    assert one["training"]["token_states"] is True
    same_store(tmp_path)
    same_training(tmp_path, one, two)
    # Killed without notice after a checkpoint, and started again.
    cut = command(tmp_path, "two-cut", *models, launcher=TORCHRUN)
    with subprocess.Popen(cut, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as started:
        kept = tmp_path / "two-cut/checkpoints"
        while started.poll() is None and not list(kept.glob("*/complete")):
            time.sleep(0.01)
        owner = (tmp_path / "two-cut/.owner").read_text()
        os.kill(int(owner.split()[1]), signal.SIGKILL)
        started.communicate()
    assert started.returncode != 0
    assert kept.is_dir()
    run(tmp_path, "two-cut", *models, launcher=TORCHRUN)
    calm, hard = (tmp_path / out / "student/model.safetensors" for out in ("two", "two-cut"))
    assert sha256_file(calm) == sha256_file(hard)
    assert not kept.exists()


def test_a_projection(tmp_path: Path) -> None:
    make(tmp_path)
    teacher = str(save_tiny(tmp_path / "wide", dimensions=64))
    models = ("--teacher", teacher, "--student", str(save_tiny(tmp_path / "narrow", seed=1)))
    one, two = run(tmp_path, "one", *models), run(tmp_path, "two", *models, launcher=TORCHRUN)
    same_store(tmp_path)
    same_training(tmp_path, one, two)
