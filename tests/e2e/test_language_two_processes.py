"""A causal student fitted by two processes under torchrun is the student that one fits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lesson_helpers import CHECKPOINTS, examples, recipe, student, weights
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.training import fit

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WORKER = Path(__file__).parents[1] / "lesson_helpers.py"


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = student()
    learn = recipe(accumulate=2)
    fit(alone, Lesson(examples(40, taught=20), 90), learn, tmp_path / "one" / CHECKPOINTS)
    together = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, weight in weights(alone).items():
        torch.testing.assert_close(together[name], weight, rtol=1e-5, atol=1e-6)
