"""What the tests of the signal store share: a teacher that anybody can recompute."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ragdistill.signals import Fingerprint, text_key
from ragdistill.signals.codecs import Values
from ragdistill.signals.store import SignalStore, Space

DIMENSIONS = 8


def fingerprint(weights: str = "a", **changes: object) -> Fingerprint:
    """A fingerprint of small float32 vectors; ``weights`` is any text."""
    fields = {"kind": "vector", "weights": weights * 64, "tokenizer": "b" * 64, "dtype": "float32"}
    return Fingerprint(**{**fields, "dimensions": DIMENSIONS, **changes})  # type: ignore[arg-type]


def keys(numbers: Sequence[int]) -> list[bytes]:
    """The keys of the texts ``"0"``, ``"1"``, ..."""
    return [text_key(str(number)) for number in numbers]


def vectors(wanted: Sequence[bytes], dimensions: int = DIMENSIONS) -> Values:
    """The teacher: float32 [n, dimensions] in [0, 1], a function of the key alone."""
    raw = np.frombuffer(b"".join(wanted), np.uint8).reshape(len(wanted), 16)[:, :1]
    tail = np.frombuffer(b"".join(wanted), "<u4").reshape(len(wanted), 4)[:, 1:2]
    return (((tail + np.arange(dimensions)) % 65521 + raw) / 65776).astype(np.float32)


def space(folder: Path | str, **changes: object) -> Space:
    """A freshly opened space of the default fingerprint."""
    return SignalStore(folder).space(fingerprint(**changes), teacher="T")  # type: ignore[arg-type]


def fill(target: Space, numbers: Sequence[int], step: int = 10, flush_bytes: int = 1 << 20) -> None:
    """Collect the signals of the texts ``numbers``, ``step`` at a time."""
    wanted = keys(numbers)
    with target.writer(flush_bytes=flush_bytes) as writer:
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            writer.append(part, vectors(part))


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Run Python code that may import this module, in a process of its own."""
    return subprocess.Popen(_command(code, arguments), env=_environment())


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same, waiting for its end and keeping what it prints."""
    command, environment = _command(code, arguments), _environment()
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )


def _command(code: str, arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), *sys.path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
