"""A teacher that reads letters, and a student that knows words.

The teacher's vector of a text counts its letter n-grams. The student has one vector per word and
adds them up. It never sees how the teacher works: it learns from the teacher's vectors of texts.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragdistill import Distiller, Plan, Section, Stage, UserError
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.sampling import sample
from ragdistill.errors import nearest
from ragdistill.files import folder_bytes, sha256_file, sha256_json, write_json
from ragdistill.metrics.latency import profile_many
from ragdistill.metrics.retrieval import make_task, quality, rank, verdict, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_echo import EchoConfig

Vectors = NDArray[np.float32]
Table = Mapping[str, Vectors]

TEACHERS = {"bigrams": 2, "trigrams": 3}
DIMENSIONS = 64
BATCH = 256


def words(text: str) -> list[str]:
    """Lower-case words, each once."""
    return list(dict.fromkeys(re.findall(r"[a-z]+", text.lower())))


def letters(text: str, size: int) -> Vectors:
    """The teacher: hashed counts ``[d]`` of the words' n-grams, of unit length."""
    marked = [f"<{word}>" for word in words(text)]
    grams = [word[i : i + size] for word in marked for i in range(len(word) - size + 1)]
    hashed = np.array([zlib.crc32(gram.encode()) for gram in grams], np.int64)
    counts = np.bincount(hashed % DIMENSIONS, np.where(hashed & 1 << 20, 1, -1), DIMENSIONS)
    return unit(counts.astype(np.float32))


def add_up(text: str, table: Table) -> Vectors:
    """The student: the sum ``[d]`` of the vectors of the words it knows, of unit length."""
    known = [table[word] for word in words(text) if word in table]
    return unit(np.sum(known, axis=0)) if known else np.zeros(DIMENSIONS, np.float32)


def unit(vector: Vectors) -> Vectors:
    """``vector`` at length 1; a vector of zeros stays one."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


def fit(texts: Sequence[str], targets: Vectors, epochs: int, seed: int) -> Table:
    """Word vectors whose sums are near ``targets`` ``[n, d]``: each text's words share the error
    of their sum (Kaczmarz's method)."""
    split = [words(text) for text in texts]
    table = {word: np.zeros(DIMENSIONS, np.float32) for text in split for word in text}
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for place in rng.permutation(len(split)):
            if text := split[place]:
                error = targets[place] - np.sum([table[word] for word in text], axis=0)
                for word in text:
                    table[word] = table[word] + error / len(text)
    return table


class WordTable(Distiller[EchoConfig]):
    """Letters teach words."""

    @cached_property
    def collection(self) -> Collection:
        """Documents to learn from, judged queries to measure with."""
        return load(self.config.data)

    @cached_property
    def texts(self) -> list[str]:
        """What is learnt from: documents, never queries."""
        documents = list(self.collection.documents)
        drawn = sample(documents, self.config.train_items, self.config.seed, key=lambda d: d.id)
        return [document.content for document in drawn]

    @cached_property
    def teacher(self) -> Fingerprint:
        """Everything that changes what the teacher says."""
        if self.config.teacher not in TEACHERS:
            raise UserError(
                f"no teacher {self.config.teacher!r}{nearest(self.config.teacher, TEACHERS)}",
                where="--teacher",
                mend=f"choose from {', '.join(TEACHERS)}",
            )
        size = TEACHERS[self.config.teacher]
        return Fingerprint(
            kind="vector",
            weights=sha256_json(["letters", size]),
            tokenizer=sha256_json("[a-z]+"),
            dtype="float32",
            dimensions=DIMENSIONS,
            parameters={"size": size},
        )

    @cached_property
    def space(self) -> Space:
        """Where this teacher's vectors are stored, whichever run asked for them."""
        return SignalStore(self.config.store or default_address()).space(
            self.teacher,
            teacher=self.config.teacher,
            accept_change=self.config.accept_teacher_change,
        )

    def inputs(self) -> Mapping[str, str]:
        return {"teacher": self.teacher.weights, "data": self.collection.digest}

    def plan(self) -> Plan:
        todo = self.space.missing([text_key(text) for text in self.texts])
        return Plan(
            steps=(
                f"collect {len(todo):,} vectors from {self.config.teacher}",
                f"train on {len(self.texts):,} texts, {self.config.epochs} times",
                f"evaluate on {self.collection.name}",
                "export as JSON",
            ),
            items=len(todo),
            store_bytes=len(todo) * self.space.record_bytes,
            usd=0.0,
        )

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        left: dict[Stage, tuple[str, ...]] = {
            "train": ("student/words.json",),
            "evaluate": ("rankings/teacher.trec", "rankings/student.trec"),
            "export": ("export/json/words.json",),
        }
        return left.get(stage, ())

    def ask(self, texts: Sequence[str]) -> int:
        """Ask the teacher for what the store lacks; how many texts that were."""
        todo = [texts[place] for place in self.space.missing([text_key(text) for text in texts])]
        size = TEACHERS[self.config.teacher]
        with self.space.writer() as writer:
            for start in range(0, len(todo), BATCH):
                batch = todo[start : start + BATCH]
                vectors = np.stack([letters(text, size) for text in batch])
                writer.append([text_key(text) for text in batch], vectors)
        return len(todo)

    def answers(self, texts: Sequence[str]) -> Vectors:
        """The teacher's stored vectors ``[n, d]``."""
        return self.space.get([text_key(text) for text in texts])

    def collect(self) -> Section:
        return {"items": self.ask(self.texts)}

    def train(self) -> Section:
        table = fit(self.texts, self.answers(self.texts), self.config.epochs, self.config.seed)
        rows = {word: vector.tolist() for word, vector in sorted(table.items())}
        write_json(self.folder / "student" / "words.json", rows)
        return {"items": len(self.texts)}

    def evaluate(self) -> Section:
        seed = self.config.seed
        task = make_task(self.collection, limit=self.config.eval_queries, seed=seed)
        self.ask([*task.document_texts, *task.query_texts])
        table = self.student("student")

        def ranked(encode: Callable[[list[str]], Vectors]) -> Rankings:
            return rank(task, encode(task.query_texts), encode(task.document_texts))

        teacher = ranked(self.answers)
        student = ranked(lambda texts: np.stack([add_up(text, table) for text in texts]))
        write_rankings(self.folder, task, {"teacher": teacher, "student": student})
        return {
            "items": len(task.queries),
            "teacher": {"name": self.config.teacher, "licence": "Apache-2.0"},
            "student": {
                "name": f"{self.config.teacher}-words",
                "digest": sha256_file(self.folder / "student" / "words.json"),
                "parameters": len(table) * DIMENSIONS,
                "licence": "Apache-2.0",
            },
            "data": {
                "name": self.collection.name,
                "documents": len(task.documents),
                "queries": len(task.queries),
                "split": task.split,
            },
            "quality": quality(task.qrels, teacher, student, seed),
        }

    def judge(self) -> Section:
        return {"verdict": verdict(self.folder, self.config.gate or 0.9, self.config.seed)}

    def export(self) -> Section:
        """Three decimals are enough; a tenth of the bytes is saved, and the difference told."""
        table, folder = self.student("student"), self.folder / "export" / "json"
        rounded = {word: [round(float(x), 3) for x in row] for word, row in table.items()}
        write_json(folder / "words.json", rounded)
        served = self.student("export/json")
        size, texts = TEACHERS[self.config.teacher], self.texts[:200]
        speed = profile_many(
            {
                "teacher": lambda texts: [letters(text, size) for text in texts],
                "student": lambda texts: [add_up(text, table) for text in texts],
                "json": lambda texts: [add_up(text, served) for text in texts],
            },
            texts,
            calls=100,
        )
        difference = max(float(np.abs(add_up(t, table) - add_up(t, served)).max()) for t in texts)
        return {
            "exports": {
                "json": {
                    "max_abs_diff": difference,
                    "size_mb": folder_bytes(folder) / 1e6,
                    "passed": difference < 0.01,
                }
            },
            "speed": {name: figures.as_json() for name, figures in speed.items()},
        }

    def student(self, folder: str) -> Table:
        """The word vectors in a folder of the run."""
        rows = json.loads((self.folder / folder / "words.json").read_text(encoding="utf-8"))
        return {word: np.array(row, np.float32) for word, row in rows.items()}
