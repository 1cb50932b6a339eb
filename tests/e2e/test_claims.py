"""Claims that a CPU can hold in minutes, through the same scripts that measure them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def measured(claim: str) -> str:
    """What a benchmark says, run from the root in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{claim}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ten_kills_lose_nothing_and_change_nothing() -> None:
    told = measured("kills")
    assert "10 kills" in told
    assert ": 0 of " in told


def test_ten_times_the_texts_take_hardly_more_memory_and_ten_times_the_time() -> None:
    told = measured("scale")
    found = re.search(r"([\d.]+) times the peak memory, ([\d.]+) times the time", told)
    assert found, told
    assert float(found[1]) <= 1.2
    assert float(found[2]) <= 12
