"""``kill -9`` while a teacher scores: no pair is lost, and none that is stored is scored again."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragdistill.metrics import trec
from ragdistill.signals.store import SignalStore
from tiny_models import save_searched, save_tiny, texts
from tiny_scorers import save_cross_encoder

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = 6

_STARTER = """
import json, os, sys, time
from ragdistill.cli import main
from ragdistill.signals.fingerprint import pair_key
from ragdistill.signals.store import Writer
from ragdistill_reranker import distiller
from ragdistill_reranker.cross_encoder import CrossEncoder

def work(words, log):
    noted = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    answers, append = CrossEncoder.answers, Writer.append

    def note(what, keys):  # one write: a kill cannot cut it in two
        os.write(noted, f"{what} {' '.join(key.hex() for key in keys)}\\n".encode())

    def noting_answers(self, pairs):
        for start in range(0, len(pairs), 8):
            part = pairs[start : start + 8]
            note("asked", [pair_key(*pair) for pair in part])
            time.sleep(0.02)
            for places, scores, tokens in answers(self, part):
                yield [start + place for place in places], scores, tokens

    def noting_append(self, keys, values):
        append(self, keys, values)
        note("stored", keys)

    CrossEncoder.answers, Writer.append = noting_answers, noting_append
    os.dup2(2, 1)
    main(words, standalone_mode=False)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(*json.loads(line))
            status = 0
        finally:
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports once what takes seconds to import, then runs the command in a child for every line."""


@dataclass(frozen=True)
class Starter:
    """Starts ``ragdistill reranker``, each time in a process of its own."""

    process: subprocess.Popen[str]
    folder: Path

    def start(self, out: str, store: str, *, after: float | None = None) -> int:
        """The exit status; with ``after`` it is killed so many seconds after the first pair was asked."""
        words = ["reranker", "--teacher", "scorer", "--student", "bi-encoder", "--data", "data"]
        words += ["--student-model", "base", "--out", out, "--store", store, "--candidates", "6"]
        words += ["--ways", "6", "--epochs", "1", "--stages", "collect,train,evaluate"]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        log = self.folder / f"{store}.log"
        log.touch()
        before = log.stat().st_size
        self.process.stdin.write(json.dumps([words, str(log)]) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if after is not None:
            while log.stat().st_size == before:
                time.sleep(0.001)
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def noted(self, store: str) -> list[tuple[str, set[str]]]:
        """What was asked and what was stored, in order."""
        lines = (self.folder / f"{store}.log").read_text().splitlines()
        return [(line.split()[0], set(line.split()[1:])) for line in lines]


@contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    """One whose working folder is ``folder``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _STARTER]
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=-1, stdout=-1
    ) as process:
        yield Starter(process, folder)


def make(folder: Path) -> None:
    """Models, and 80 documents that leave something when a piece is cut out."""
    save_cross_encoder(folder / "scorer")
    save_tiny(folder / "base")
    corpus = save_searched(folder / "data", documents=80, queries=10) / "corpus.jsonl"
    wanted = texts(160)
    told = [f"{one}. {other}." for one, other in zip(wanted[:80], wanted[80:], strict=True)]
    rows = [{"_id": str(number), "text": text} for number, text in enumerate(told)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))


def stored(address: Path) -> set[str]:
    """The keys of all scores, of which none is there twice; a kill may come before there are any.

    A copy is read: reading mends what a killed writer left, and that is for the next run to do.
    """
    with tempfile.TemporaryDirectory() as copy:
        store = SignalStore(shutil.copytree(address, Path(copy) / "store"))
        spaces = [store.open(summary) for summary in store.spaces()]
        found = [key.hex() for space in spaces for key in space.keys()]  # noqa: SIM118
        assert sum(summary.rows or 0 for summary in store.spaces()) == len(found)
    assert len(set(found)) == len(found)
    return set(found)


def rankings(folder: Path, name: str) -> dict[str, list[str]]:
    """The documents of each query, best first."""
    found = trec.read(folder / f"rankings/{name}.trec")
    return {query: [document for document, _ in ranked] for query, ranked in found.items()}


def test_kill_9_while_scoring(tmp_path: Path) -> None:
    make(tmp_path)
    rng = random.Random(0)
    with starter(tmp_path) as command:
        assert command.start("calm", "calm-store") == 0
        wanted = stored(tmp_path / "calm-store")
        assert len(wanted) > 400
        known: set[str] = set()
        met = 0
        for kill in range(KILLS + 1):
            assert known < wanted  # every kill was in the midst of it
            after = rng.uniform(0, 0.1) if kill < KILLS else None
            assert command.start("run", "store", after=after) == (0 if after is None else -9)
            asked: list[set[str]] = []
            noted = command.noted("store")
            for what, keys in noted[met:]:
                if what == "asked":
                    assert not keys & known  # none that is stored
                    asked.append(keys)
                else:
                    known |= keys
            met = len(noted)
            kept = stored(tmp_path / "store")
            assert known <= kept  # more is stored where the kill came before the note of it
            known = kept
            assert set().union(*asked) - known <= asked[-1]  # nothing lost but the last batch
        assert known == wanted
        for name in ("teacher", "student"):
            assert rankings(tmp_path / "run", name) == rankings(tmp_path / "calm", name)
        assert command.start("other", "store") == 0
        assert len(command.noted("store")) == met  # the same pairs again are free
        assert rankings(tmp_path / "other", "student") == rankings(tmp_path / "run", "student")
