"""What a teacher that is asked while the student learns changes, and a student that is taught on what it
samples, one that follows its own average, or two that teach one another: each against the teacher's stored
distributions at the same budget, passes over the same answers of xquad. SmolLM2-135M-Instruct without six of
its later layers. benchmarks/LOG.md says what has been seen.

Options that are not known here go to ``ragdistill generator``. "Minutes" are the processor's, for a machine is
shared; of the difference in token F1 to ``stored`` the interval is that of paired resamples of questions.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.common import data_folder
from benchmarks.generators import TEACHER
from ragdistill.cli import main as command
from ragdistill.metrics.answers import token_f1
from ragdistill.metrics.bootstrap import resample

LAYERS = ",".join(map(str, [*range(20), *range(26, 30)]))
PEER = ",".join(map(str, [*range(18), *range(24, 30)]))
WAYS: Mapping[str, Sequence[str]] = {
    "stored": (),
    "labels": ("--method", "labels"),
    "live": ("--tutor", "live"),
    "trained": ("--tutor", "trained"),
    "average": ("--tutor", "average", "--average-decay", "0.9"),
    "peer": ("--tutor", "peer", "--peer-layers", PEER),
    "on-policy": ("--method", "on-policy", "--beta", "0.5"),
    "on-policy alone": ("--method", "on-policy", "--lambda", "1", "--alpha", "1", "--beta", "0.5"),
}
BUDGET = ("--train-items", "100", "--epochs", "2", "--lr", "3e-4", "--eval-queries", "100")


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    asked, others = parser.parse_known_args()
    folder = data_folder()
    if folder is None:
        sys.exit("set RAGDISTILL_TEST_DATA to the folder of the evaluation sets")
    words = ["--teacher", TEACHER, "--student-layers", LAYERS, "--data", f"{folder}/xquad", *BUDGET]
    known: NDArray[np.float64] | None = None
    with tempfile.TemporaryDirectory() as scratch:
        # What the teacher answers and says is stored before any way is timed.
        run([*words, *others, "--out", f"{scratch}/first"], "collect")
        for way in asked.ways:
            out = Path(scratch) / way.replace(" ", "-")
            report, minutes = run([*words, *others, *WAYS[way], "--out", str(out)])
            scores = f1(out)
            known = scores if known is None else known
            print(f"{way}: {told(report, scores, known)}; {minutes:.1f} minutes", flush=True)


def run(
    words: Sequence[str], stages: str = "collect,train,evaluate"
) -> tuple[dict[str, Any], float]:
    """The report of a run, and the processor's minutes of it."""
    started = time.process_time()
    line = ["generator", "--json", "--stages", stages, *words]
    found = CliRunner().invoke(command, line)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout), (time.process_time() - started) / 60


def f1(out: Path) -> NDArray[np.float64]:
    """Token F1 of each of the student's answers."""
    lines = (out / "answers/student.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return token_f1([row["answer"] for row in rows], [row["references"] for row in rows])


def told(report: Mapping[str, Any], scores: NDArray[np.float64], known: NDArray[np.float64]) -> str:
    """F1, how far from the first way's it is, and the losses."""
    quality, training = report["quality"]["F1"], report["training"]
    draws = resample((scores - known,), lambda gain, axis: gain.mean(axis=axis), seed=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    held = [row["held_out"] for row in training["losses"] if "held_out" in row]
    parts = [
        f"F1 {scores.mean():.3f} (teacher {quality['teacher']:.3f}, {len(scores)} questions)",
        f"{scores.mean() - known.mean():+.3f} ({low:+.3f} to {high:+.3f})",
        f"{training['steps']} steps, held-out loss {held[0]:.3f} to {min(held):.3f}",
    ]
    if "agreement" in report:
        parts.append(f"KL on the teacher's answers {report['agreement']['kl']:.3f}")
    if "tutor_held_out" in training:
        both = ", ".join(f"{name} {loss:.3f}" for name, loss in training["tutor_held_out"].items())
        parts.append(f"held out {both}, kept {training['kept']}")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
