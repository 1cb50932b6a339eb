"""What the benchmarks share: pairs taken in turns, and how a ratio is told."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ragdistill.data.pydocs import load
from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import TrainText, training_texts
from ragdistill.encoder import Encoder, load_encoder
from ragdistill.models.resolve import resolve


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(
    baseline: Callable[[], object], ours: Callable[[], object], rounds: int
) -> list[float]:
    """How many times as fast ``ours`` is, of pairs run one after the other; who begins alternates,
    so that a machine that slows down slows both."""
    ratios = []
    for number in range(rounds):
        if number % 2:
            our_time, their_time = seconds(ours), seconds(baseline)
        else:
            their_time, our_time = seconds(baseline), seconds(ours)
        ratios.append(their_time / our_time)
    return ratios


def told(ratios: Sequence[float]) -> str:
    """Median and range."""
    return (
        f"{statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} pairs)"
    )


def minilm() -> Encoder:
    """The teacher of every benchmark, as people download it."""
    return load_encoder(resolve("MiniLM").path, "cpu")


def pydocs_texts(count: int) -> list[TrainText]:
    """What an embedder learns from on pydocs, ``count`` texts of it."""
    return training_texts(load(), limit=count, seed=0)


def pydocs_documents(count: int) -> list[str]:
    """``count`` documents of pydocs."""
    documents = sample(list(load().documents), count, 0, key=lambda item: item.id)
    return [document.content for document in documents]


def data_folder() -> Path | None:
    """Where the real evaluation sets are: ``RAGDISTILL_TEST_DATA``."""
    value = os.environ.get("RAGDISTILL_TEST_DATA")
    return Path(value) if value else None
