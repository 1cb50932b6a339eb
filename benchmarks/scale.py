"""Claim: collecting 200,000 short texts takes at most 1.2 times the memory of 20,000, and time grows
no faster than the number of texts."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tiny_models import save_tiny

_PROGRAM = """
import sys, time
from pathlib import Path
from ragdistill.cli import main
import ragdistill_embedder.distiller
started = time.perf_counter()
main(sys.argv[1:], standalone_mode=False)
peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
print("measured", time.perf_counter() - started, peak.split()[1])
"""


def main(small: int = 20_000, factor: int = 10) -> None:
    """Print both ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        teacher = save_tiny(root / "teacher")
        few, few_memory = measure(root, teacher, small)
        many, many_memory = measure(root, teacher, small * factor)
    print(
        f"{factor} times the texts ({small:,} -> {small * factor:,}): "
        f"{many_memory / few_memory:.2f} times the peak memory, {many / few:.1f} times the time"
    )


def measure(root: Path, teacher: Path, count: int) -> tuple[float, int]:
    """Seconds and peak memory (KiB) of collecting ``count`` texts in a process of its own."""
    folder = root / str(count)
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w") as stream:
        for number in range(count):
            stream.write(f'{{"_id": "{number}", "text": "short text number {number} of many"}}\n')
    done = subprocess.run(
        [
            *(sys.executable, "-c", _PROGRAM, "embedder", "--teacher", str(teacher)),
            *("--student-layers", "2", "--data", str(folder), "--stages", "collect"),
            *("--out", str(folder / "run"), "--store", str(folder / "store")),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"measured ([\d.]+) (\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1]), int(found[2])


if __name__ == "__main__":
    main()
