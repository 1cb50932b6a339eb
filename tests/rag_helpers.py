"""Stacks of tiny parts, and a plugin whose parts count what they are asked."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from data_helpers import jsonl
from kernel_helpers import forget
from ragdistill import Serving, hookimpl, plugins
from ragdistill.files import sha256_json
from ragdistill.rag.serving import Answer, Reference
from tiny_models import WORDS

PAUSE = 0.1
"""Seconds that a slow part takes."""


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """What the fake parts can be told."""

    loudness: int = 1


class FakePart:
    """Does well if it is called ``good`` or ``other``, badly if ``bad``, and ``fair`` badly at one request
    in five; ``slow`` does well after a while, and ``shy`` raises in any thread but the first. Class variables are of all parts together, for the tests."""

    asked: ClassVar[dict[str, list[Any]]] = {}
    trouble: ClassVar[Callable[[str, tuple[Any, ...]], None] | None] = None
    """Called before each request, with ``ROLE NAME`` and what is asked; may raise."""

    def __init__(self, role: str, reference: Reference) -> None:
        self.role, self.name = role, reference.text
        self.fingerprint = sha256_json([role, reference.text])
        self.ready = False

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "parameters": 1}

    def load(self) -> None:
        self.ready = True

    def close(self) -> None:
        self.ready = False

    def fails(self, *what: Any) -> bool:
        """Note what is asked; whether it is to be done badly."""
        assert self.ready
        if FakePart.trouble is not None:
            FakePart.trouble(f"{self.role} {self.name}", what)
        FakePart.asked.setdefault(f"{self.role} {self.name}", []).append(what)
        if self.name == "slow":
            time.sleep(PAUSE)
        if self.name == "shy" and threading.current_thread() is not threading.main_thread():
            raise RuntimeError("too many at once")
        unlucky = int(sha256_json([self.role, what[0]])[:4], 16) % 5 == 0
        return self.name == "bad" or (self.name == "fair" and unlucky)


class FakeRewriter(FakePart):
    """Puts the turns before the query, or asks for something else."""

    def rewrite(self, turns: Sequence[str], query: str) -> str:
        failed = self.fails(query, turns)
        return "black snow falls" if failed else " ".join([*turns, query])


class FakeEmbedder(FakePart):
    """Bags of words; where it fails, those of other words."""

    dimensions = len(WORDS)
    index = None

    @property
    def spaces(self) -> list[str]:
        return [self.fingerprint]

    def encode(self, texts: Sequence[str], side: str, advance: Any = None) -> np.ndarray:
        found = np.zeros((len(texts), len(WORDS)), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                found[row, WORDS.index(word) if word in WORDS else 0] += 1
        if side == "query" and self.fails(*texts):
            found = np.roll(found, 7, axis=1)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


class FakeReranker(FakePart):
    """Counts the words in common, or those that are not."""

    prepared: Sequence[str] = ()

    def prepare(self, documents: Sequence[str]) -> None:
        self.prepared = documents

    def scores(self, query: str, documents: Sequence[str]) -> np.ndarray:
        assert {*documents} <= {*self.prepared}
        sign = -1 if self.fails(query, *documents) else 1
        shared = [len({*query.split()} & {*text.split()}) for text in documents]
        return np.array(shared, np.float32) * sign


class FakeGenerator(FakePart):
    """The last word of the first context, or nothing of the kind; ``fair`` knows how likely it is right."""

    def admit(self, contexts: int) -> None:
        pass

    def answer(self, question: str, contexts: Sequence[str]) -> str | Answer:
        failed = self.fails(question, *contexts)
        said = "nothing" if failed or not contexts else contexts[0].split()[-1]
        return (
            Answer(said, -2.0 if failed else -len(question) / 1e3) if self.name == "fair" else said
        )


def open_fake(reference: Reference, options: Loudness, device: str) -> FakePart:
    """What the plugin opens."""
    role, _, name = reference.text.partition("/")
    kinds = {
        "rewriter": FakeRewriter,
        "embedder": FakeEmbedder,
        "reranker": FakeReranker,
        "generator": FakeGenerator,
    }
    return kinds[role](role, Reference(name))


class FakeServing:
    """A plugin that brings a part of every role."""

    @hookimpl
    def ragdistill_serving(self) -> list[Serving]:
        return [
            Serving(role, "fake", "rag_helpers:open_fake", Loudness, scheme="fake")
            for role in ("rewriter", "embedder", "reranker", "generator")
        ]


SERVING = FakeServing()


def install(folder: Path) -> str:
    """What an installer leaves of the plugin, so that a process of its own finds it on its path."""
    made = folder / "site/fake_serving-1.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-serving\nVersion: 1\n")
    (made / "entry_points.txt").write_text("[ragdistill]\nfake-serving = rag_helpers:SERVING\n")
    return str(made.parent)


@contextmanager
def fake_parts() -> Iterator[None]:
    """The plugin is there, and nothing was asked yet."""
    forget()
    FakePart.asked, FakePart.trouble = {}, None
    plugins.plugin_manager().register(SERVING, "fake-serving")
    try:
        yield
    finally:
        forget()


def asked(role: str) -> int:
    """How often the parts of a role were asked; of rerankers, for how many pairs."""
    calls = [
        what for name, each in FakePart.asked.items() if name.startswith(role) for what in each
    ]
    return sum(len(what) - 1 for what in calls) if role == "reranker" else len(calls)


def write_stack(file: Path, **parts: Any) -> Path:
    """A stack file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(parts, sort_keys=False))
    return file


def fake_stack(file: Path, **names: str) -> Path:
    """Four fake parts, all ``good`` but for those named otherwise."""
    roles = {role: f"fake:{role}/{names.get(role, 'good')}" for role in
             ("rewriter", "embedder", "reranker", "generator")}  # fmt: skip
    return write_stack(
        file,
        rewriter=roles["rewriter"],
        embedder={"model": roles["embedder"], "k": 8},
        reranker={"model": roles["reranker"], "k_in": 6, "k_out": 4},
        generator={"model": roles["generator"], "contexts": 2},
    )


def write_conversations(folder: Path, count: int = 24) -> Path:
    """``count`` questions in two halves, the first in a turn; the answer is the last word of the one
    document that has all its words."""
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, judged = [], [], ["query-id\tcorpus-id\tscore"]
    for n in range(2 * count):
        words = [WORDS[(n * step + step * step) % len(WORDS)] for step in range(1, 8)]
        corpus.append({"_id": f"d{n}", "text": " ".join([*words, f"a{n}"])})
        if n < count:
            turns = [" ".join(words[:4])]
            queries.append({"_id": f"q{n}", "text": " ".join(words[4:]), "context_turns": turns,
                            "answers": [f"a{n}"]})  # fmt: skip
            judged.append(f"q{n}\td{n}\t1")
    (folder / "corpus.jsonl").write_bytes(jsonl(corpus))
    (folder / "queries.jsonl").write_bytes(jsonl(queries))
    (folder / "qrels/test.tsv").write_text("\n".join(judged) + "\n")
    return folder


def recomputed(run: Path) -> subprocess.CompletedProcess[str]:
    """What the script that knows nothing of ragdistill says of a report."""
    script = Path(__file__).parents[1] / "examples/recompute.py"
    words = [sys.executable, str(script), str(run)]
    return subprocess.run(words, check=False, capture_output=True, text=True)
