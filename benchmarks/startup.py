"""Claim: ``ragdistill --help`` and ``ragdistill embedder --help`` take at most 0.3 s."""

import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.common import seconds


def main(rounds: int = 11) -> None:
    """Print the time of each against that of an interpreter that does nothing."""
    command = str(Path(sys.executable).with_name("ragdistill"))

    def timed(*arguments: str) -> float:
        return median(
            seconds(lambda: subprocess.run(arguments, check=True, capture_output=True))
            for _ in range(rounds)
        )

    nothing = timed(sys.executable, "-c", "pass")
    for words in (["--help"], ["embedder", "--help"]):
        taken = timed(command, *words)
        print(
            f"ragdistill {' '.join(words)}: {taken:.2f} s, {taken / nothing:.1f} times an "
            f"interpreter that does nothing (median of {rounds})"
        )


if __name__ == "__main__":
    main()
