"""The student as it is served: ONNX in fp32 and int8, or a table of token vectors, each held against
the student itself."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import load_file, save_file
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import Role
from ragdistill.encoder import Encoder, is_static, is_table
from ragdistill.export.gates import FP32, INT8, GateResult, Limits, check, with_fallback
from ragdistill.export.int8 import ladder
from ragdistill.export.onnx import export_embedder
from ragdistill.export.static import export_static, load_embedder
from ragdistill.files import atomic_path, folder_bytes
from ragdistill.metrics import trec
from ragdistill.metrics.indexes import Coding, Kind
from ragdistill.metrics.latency import profile_many
from ragdistill.metrics.retrieval import Task, Vectors, quality, rank, write_rankings
from ragdistill.metrics.storage import Ground
from ragdistill.metrics.trec import Rankings
from ragdistill.models.digest import digests
from ragdistill_embedder.collecting import by_role
from ragdistill_embedder.config import STATIC
from ragdistill_embedder.indexing import export_index
from ragdistill_embedder.teacher import Asked, Teacher
from ragdistill_embedder.teacher_index import TeacherIndex

SPEED_TEXTS = 128
"""Documents that speed is measured on."""
BATCH = 32
"""Texts per call when throughput is measured."""
VECTORS = "vectors/student.safetensors"
"""Where :func:`keep_vectors` leaves the student's vectors, in the run folder."""


@dataclass(frozen=True, slots=True)
class TaskVectors:
    """Unit vectors of a task's queries ``[q, d]`` and documents ``[n, d]``."""

    queries: Vectors
    documents: Vectors


def encode_task(
    encoder: Encoder, task: Task, prompts: Mapping[Role, str]
) -> tuple[TaskVectors, float]:
    """A task's texts through ``encoder``, and the seconds that its documents took."""
    queries = encoder.encode(task.query_texts, prompts["query"])
    started = time.perf_counter()
    documents = encoder.encode(task.document_texts, prompts["passage"])
    return TaskVectors(queries, documents), time.perf_counter() - started


def keep_vectors(folder: Path, vectors: TaskVectors) -> None:
    """Leave the student's vectors for the stages that compare with them."""
    with atomic_path(folder / VECTORS) as path:
        save_file({"queries": vectors.queries, "documents": vectors.documents}, str(path))


def kept_vectors(folder: Path) -> TaskVectors:
    """What :func:`keep_vectors` left."""
    return TaskVectors(**load_file(str(folder / VECTORS)))


def outputs(folder: Path, *, indexed: bool) -> tuple[str, ...]:
    """What :func:`export_all` leaves of the student in the run ``folder``: of a static one a table, for
    it runs no graph. Where an index was brought, none is written."""
    parts = _parts(folder / "student")
    served: tuple[str, ...] = ("export/onnx/model.onnx", "export/onnx-int8/model.onnx")
    if parts[:1] == ["StaticEmbedding"]:
        table = set(parts[1:]) <= {"Normalize"}
        served = (f"export/{STATIC}/model.safetensors",) if table else ()
    return (*served, *(("export/faiss/index.faiss",) if indexed else ()))


def _parts(student: Path) -> list[str]:
    """The modules of a saved model by their classes' names; none where there is no model yet."""
    listed = student / "modules.json"
    if not listed.exists():
        return []
    modules = sorted(json.loads(listed.read_text(encoding="utf-8")), key=lambda part: part["idx"])
    return [part["type"].rpartition(".")[2] for part in modules]


def export_all(
    folder: Path,
    learner: Encoder,
    teacher: Teacher,
    task: Task,
    prompts: Mapping[Role, str],
    seed: int,
    form: tuple[Kind, Coding],
    index: TeacherIndex | None = None,
) -> dict[str, Any]:
    """ONNX fp32, ONNX int8 (or what it falls back to) and a FAISS index under ``export/``, their
    rankings, and the speed of teacher (if it runs here), student and exports on the same texts.

    With an ``index``, which the teacher made, queries are all that is embedded."""
    kept = kept_vectors(folder)
    bench = Bench(folder, task, prompts, seed, kept, index)
    digest = digests(folder / "student").weights
    exports, served = _served(learner, bench, digest)
    searched = searched_documents(kept, index)
    if searched is not None:
        ground = Ground(folder, task, bench.teacher, kept.queries, searched, seed)
        by = digest if index is None else teacher.digest
        exports["faiss"] = export_index(ground, *form, encoder_digest=by)
    return {"exports": exports, "speed": bench.speed(teacher.asked, learner, served)}


Exports = tuple[dict[str, Any], dict[str, Path]]
"""The report's entries of exports, and where those are that have a speed."""


def _served(learner: Encoder, bench: "Bench", digest: str) -> Exports:
    if is_table(learner.model):
        return _table(learner, bench, digest)
    # A static model with more behind it than a table fits neither, and is served as it is.
    return ({}, {}) if is_static(learner.model) else _graphs(learner, bench, digest)


def _graphs(learner: Encoder, bench: "Bench", digest: str) -> Exports:
    full, small = bench.folder / "export/onnx", bench.folder / "export/onnx-int8"
    export_embedder(learner.model, full, source_digest=digest)
    fp32 = bench.measure(full, FP32)
    outcome = with_fallback(ladder(full, small), lambda path: bench.measure(path, INT8))
    entries = {
        "onnx": bench.entry(full, fp32, "fp32", ()),
        "onnx-int8": bench.entry(small, outcome.result, outcome.name, outcome.failed),
    }
    return entries, {"onnx": full, "onnx-int8": small}


def _table(learner: Encoder, bench: "Bench", digest: str) -> Exports:
    path, bags = bench.folder / "export" / STATIC, cast(StaticEmbedding, learner.model[0])
    export_static(
        bags.embedding.weight.detach().cpu().numpy(),
        learner.tokenizer,
        path,
        max_length=learner.max_length,
        prompts={key: value for key, value in learner.model.prompts.items() if value},
        source_digest=digest,
    )
    entry = bench.entry(path, bench.measure(path, INT8), "fp16", ())
    return {STATIC: entry}, {STATIC: path}


def searched_documents(vectors: TaskVectors, index: TeacherIndex | None) -> Vectors | None:
    """The vectors of the documents that the student's queries search, ``[n, d]``: its own, or those
    that the teacher has stored; None where an index was brought, which stays as it is."""
    if index is None:
        return vectors.documents
    if index.path is not None:
        return None
    stored: Vectors = index.vectors.index.reconstruct_n(0, len(index.ids))
    return stored


@dataclass(frozen=True)
class Bench:
    """Holds exports against the student on one task."""

    folder: Path
    task: Task
    prompts: Mapping[Role, str]
    seed: int
    student: TaskVectors
    index: TeacherIndex | None = None
    """The teacher's own, where that is what is searched."""

    @cached_property
    def student_rankings(self) -> Rankings:
        """What the student itself finds."""
        return self._rank(self.student)

    def _rank(self, vectors: TaskVectors) -> Rankings:
        if self.index is not None:
            return self.index.rank(self.task, vectors.queries)
        return rank(self.task, vectors.queries, vectors.documents)

    @cached_property
    def teacher(self) -> Rankings:
        """What the teacher found."""
        return trec.read(self.folder / "rankings/teacher.trec")

    def measure(self, export: Path, limits: Limits) -> GateResult:
        """The gate's figures; leaves ``rankings/NAME.trec``."""
        runtime = load_embedder(export)
        encode = partial(runtime.encode, normalize=True)
        queries = encode(self.task.query_texts, prompt=self.prompts["query"])
        mine, theirs = TaskVectors(queries, queries[:0]), self.student.queries
        if self.index is None:
            documents = encode(self.task.document_texts, prompt=self.prompts["passage"])
            mine = TaskVectors(queries, documents)
            theirs = np.concatenate([theirs, self.student.documents])
        rankings = self._rank(mine)
        write_rankings(self.folder, self.task, {export.name: rankings})
        return check(
            theirs,
            np.concatenate([mine.queries, mine.documents]),
            self.student_rankings,
            rankings,
            self.task.qrels,
            limits,
        )

    def entry(
        self,
        export: Path,
        result: GateResult,
        recipe: str,
        failed: Sequence[tuple[str, GateResult]],
    ) -> dict[str, Any]:
        """The report's entry of an export: its quality is measured against the teacher."""
        mine = trec.read(self.folder / f"rankings/{export.name}.trec")
        return {
            **result.as_json(),
            "recipe": recipe,
            "size_mb": round(folder_bytes(export) / 1e6, 3),
            "quality": quality(self.task.qrels, self.teacher, mine, self.seed),
            "attempts": [{"recipe": name, **each.as_json()} for name, each in failed],
        }

    def speed(
        self, teacher: Sequence[Asked], learner: Encoder, exports: Mapping[str, Path]
    ) -> dict[str, Any]:
        """Latency and throughput on a sample of the documents, or of the queries where those are all
        that the student is for, the systems taking turns."""
        served: Role = "passage" if self.index is None else "query"
        whole = self.task.document_texts if self.index is None else self.task.query_texts
        texts, prompt = sample(whole, SPEED_TEXTS, self.seed, key=str), self.prompts[served]
        systems: dict[str, Callable[[list[str]], object]] = {}
        if teacher:
            told = [(encoder, by_role(prompts)[served]) for encoder, prompts in teacher]
            systems["teacher"] = partial(_encode, told)
        systems["student"] = partial(_encode, [(learner, prompt)])
        for name, path in exports.items():
            systems[name] = partial(load_embedder(path).encode, prompt=prompt)
        found = profile_many(systems, texts, batch=BATCH)
        return {name: speed.as_json() for name, speed in found.items()}


def _encode(asked: Sequence[tuple[Encoder, str]], texts: list[str]) -> object:
    """As people call sentence-transformers today; of several teachers each has to be asked."""
    return [
        encoder.model.encode(texts, prompt=prompt, batch_size=BATCH, show_progress_bar=False)
        for encoder, prompt in asked
    ]
