"""colbert-ai and Optimum themselves load what is exported; ``make interop`` is the same by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def test_other_libraries_give_what_the_student_gives(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.interop", str(tmp_path), "--passages", "120"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("embedder", "cross-encoder", "multi-vector"):
        assert f"Optimum, {kind} " in done.stdout
    found = re.search(r"PLAID.*: overlap@10 with exact MaxSim ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) >= 0.8
