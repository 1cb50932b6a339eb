"""The student as it is served: ONNX in fp32 and int8, held against the student itself; of a
late-interaction student also the vectors of its documents' tokens in codes, and a checkpoint for colbert-ai."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

from ragdistill.errors import UserError
from ragdistill.export.gates import FP32, INT8, GateResult, Limits, check_scores, with_fallback
from ragdistill.export.int8 import ladder
from ragdistill.export.onnx import export_embedder
from ragdistill.export.rerankers import export_cross_encoder, export_multi_vector
from ragdistill.export.runtime import OnnxCrossEncoder, OnnxEmbedder, OnnxMultiVector
from ragdistill.files import folder_bytes
from ragdistill.first_stage import Candidates, Scores
from ragdistill.metrics import trec
from ragdistill.metrics.retrieval import HEADLINE, Task, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill.models.digest import digests
from ragdistill.progress import track
from ragdistill_reranker import colbert_checkpoint, evaluation
from ragdistill_reranker.config import Kind
from ragdistill_reranker.lists import Lists
from ragdistill_reranker.scoring import Pair
from ragdistill_reranker.students import BiEncoder, LateInteraction, Student
from ragdistill_reranker.systems import PairSystem, System, TokenSystem, VectorSystem
from ragdistill_reranker.token_index import (
    CODINGS,
    TokenCoding,
    TokenIndex,
    why_not,
    write_token_index,
)

log = logging.getLogger(__name__)

_WINDOW = 1024
"""Documents whose token vectors are in memory at once."""
_PROBED = 64
"""Documents whose tokens are counted at a time."""
TOKENS, CHECKPOINT = "tokens", "colbert-ai"
"""Folders under ``export/`` of a late-interaction student."""


class OnnxTokens(TokenSystem):
    """A late-interaction graph; MaxSim stays beside it."""

    def __init__(self, folder: Path) -> None:
        self._runtime = OnnxMultiVector(folder)

    def encode(self, texts: Sequence[str], task: str) -> list[Scores]:
        """See ``TokenSystem``."""
        runtime = self._runtime
        encode = runtime.encode_queries if task == "query" else runtime.encode_documents
        return encode(list(texts))


class OnnxVectors(VectorSystem):
    """A bi-encoder's graph."""

    def __init__(self, folder: Path) -> None:
        self._runtime = OnnxEmbedder(folder)

    def encode(self, texts: Sequence[str], task: str) -> Scores:
        """See ``VectorSystem``."""
        prompt = self._runtime.record.prompts.get(task, "")
        return self._runtime.encode(list(texts), prompt=prompt, normalize=True)


class OnnxPairs(PairSystem):
    """A cross-encoder's graph."""

    def __init__(self, folder: Path) -> None:
        self._runtime = OnnxCrossEncoder(folder)

    def score_pairs(self, pairs: Sequence[Pair]) -> Scores:
        """See ``PairSystem``."""
        return self._runtime.scores(list(pairs))


_RUNTIMES: Mapping[Kind, type[OnnxTokens | OnnxVectors | OnnxPairs]] = {
    "colbert": OnnxTokens,
    "bi-encoder": OnnxVectors,
    "cross-encoder": OnnxPairs,
}


def check_coding(student: Student, texts: Sequence[str], coding: TokenCoding) -> None:
    """Refuse a ``coding`` that the tokens of ``texts`` are too few for, or its vectors too odd, before the
    student has learnt anything; no more are read than settle it.

    Raises:
        UserError: the tokens cannot be kept so.
    """
    if not isinstance(student, LateInteraction) or not why_not(coding, 1, 1):
        return
    tokens, dimensions = 0, int(student.encode(texts[:1], "document")[0].shape[1])
    reason = why_not(coding, sys.maxsize, dimensions)
    for start in range(0, 0 if reason else len(texts), _PROBED):
        tokens += sum(map(len, student.encode(texts[start : start + _PROBED], "document")))
        if not (reason := why_not(coding, tokens, dimensions)):
            break
    if reason:
        raise UserError(reason, where="--token-coding", mend="choose another coding")


def outputs(kind: Kind) -> tuple[str, ...]:
    """What :meth:`Bench.export_all` leaves in the run folder."""
    graphs = ("export/onnx/model.onnx", "export/onnx-int8/model.onnx")
    if kind != "colbert":
        return graphs
    return (*graphs, f"export/{TOKENS}/codes.npy")


@dataclass(frozen=True)
class Bench:
    """Holds exports against the student on the same lists."""

    folder: Path
    """Of the run."""
    task: Task
    candidates: Candidates
    lists: Lists
    student: Student
    seed: int

    @cached_property
    def scores(self) -> Scores:
        """The student's own, ``[q, n]``."""
        return self.student.score(self.lists)

    @cached_property
    def rankings(self) -> dict[str, Rankings]:
        """What the stage before has left, by system."""
        names = ("first_stage", "teacher", "student")
        return {name: trec.read(self.folder / f"rankings/{name}.trec") for name in names}

    def export_all(self, coding: TokenCoding) -> tuple[dict[str, Any], dict[str, System]]:
        """The report's entries of exports, and those that have a speed."""
        full, small = self.folder / "export/onnx", self.folder / "export/onnx-int8"
        digest = digests(self.folder / "student").weights
        _write_graph(self.student, full, digest)
        fp32 = self._measure(full, FP32)
        kept = with_fallback(ladder(full, small), lambda path: self._measure(path, INT8))
        entries = {
            "onnx": self._entry(full, fp32, "fp32", ()),
            "onnx-int8": self._entry(small, kept.result, kept.name, kept.failed),
        }
        runtime = _RUNTIMES[self.student.kind]
        serving: dict[str, System] = {"onnx": runtime(full), "onnx-int8": runtime(small)}
        if isinstance(self.student, LateInteraction):
            entries |= self._token_exports(self.student, coding, digest)
        return entries, serving

    def _measure(self, export: Path, limits: Limits) -> GateResult:
        """The gate's figures; leaves ``rankings/NAME.trec``."""
        scores = _RUNTIMES[self.student.kind](export).score(self.lists)
        ranked = self._ranked(export.name, scores)
        return check_scores(
            self.scores,
            scores,
            self.lists.there,
            self.rankings["student"],
            ranked,
            self.task.qrels,
            limits,
        )

    def _ranked(self, name: str, scores: Scores) -> Rankings:
        found = evaluation.reranked(self.task, self.candidates, scores)
        write_rankings(self.folder, self.task, {name: found})
        return found

    def _quality(self, name: str) -> dict[str, Any]:
        """Of the export's rankings, against the teacher's."""
        found = trec.read(self.folder / f"rankings/{name}.trec")
        first, teacher = self.rankings["first_stage"], self.rankings["teacher"]
        return evaluation.quality(self.task, first, teacher, found, self.seed)

    def _entry(
        self,
        export: Path,
        result: GateResult,
        recipe: str,
        failed: Sequence[tuple[str, GateResult]],
    ) -> dict[str, Any]:
        return {
            **result.as_json(),
            "recipe": recipe,
            "size_mb": round(folder_bytes(export) / 1e6, 3),
            "quality": self._quality(export.name),
            "attempts": [{"recipe": name, **each.as_json()} for name, each in failed],
        }

    def _token_exports(
        self, student: LateInteraction, coding: TokenCoding, digest: str
    ) -> dict[str, Any]:
        """All documents' tokens in codes, and the checkpoint."""
        target = self.folder / "export" / TOKENS
        ids = [document.id for document in self.task.documents]
        with TemporaryDirectory(dir=self.folder, prefix=".tokens-") as scratch:
            vectors = _on_disk(student, self.task.document_texts, Path(scratch) / "vectors")
            write_token_index(target, ids, vectors, coding, encoder_digest=digest)
            del vectors
        index = TokenIndex.read(target)
        self._ranked(TOKENS, self._by_index(student, index))
        entries: dict[str, Any] = {
            TOKENS: {
                "recipe": coding,
                "size_mb": round(folder_bytes(target) / 1e6, 3),
                "bytes_per_document": index.bytes_per_document,
                "quality": self._quality(TOKENS),
            }
        }
        if reason := colbert_checkpoint.why_not(student.model):
            log.warning("no checkpoint for colbert-ai: %s", reason)
            return entries
        checkpoint = self.folder / "export" / CHECKPOINT
        colbert_checkpoint.write_colbert_checkpoint(student.model, checkpoint)
        return entries | {CHECKPOINT: {"size_mb": round(folder_bytes(checkpoint) / 1e6, 3)}}

    def _by_index(self, student: LateInteraction, index: TokenIndex) -> Scores:
        """Scores ``[q, n]`` of the candidates by their codes."""
        asked = student.encode(self.lists.queries, "query")
        found: Scores = np.zeros(self.lists.there.shape, dtype=np.float32)
        rows = zip(asked, self.candidates.places, self.lists.there, strict=True)
        for row, (query, listed, there) in enumerate(rows):
            names = (self.task.documents[place].id for place in listed[there])
            found[row, there] = index.scores(query, [index.places[name] for name in names])
        return found

    def storage(self, scratch: Path) -> list[dict[str, Any]]:
        """``storage`` of the report: every way to keep the vectors of the candidates' documents, what it
        takes and what it costs; of a student that has none, nothing."""
        places = sorted(set(self.candidates.places[self.lists.there].tolist()))
        if not isinstance(self.student, (BiEncoder, LateInteraction)) or not places:
            return []
        ids = [self.task.documents[place].id for place in places]
        texts = [self.task.document_texts[place] for place in places]
        if isinstance(self.student, BiEncoder):
            row: dict[str, Any] = {"vectors": "float32", "index": "flat", "documents": len(ids)}
            row["dimensions"] = int(self.student.encode(texts[:1], "document").shape[1])
            row |= {"bytes_per_document": 4.0 * row["dimensions"], "ndcg_difference": 0.0}
            return [row | {"quality": self._quality("student")}]
        vectors = _on_disk(self.student, texts, scratch / "vectors")
        rows, tokens, dimensions = [], sum(map(len, vectors)), int(vectors[0].shape[1])
        for coding in CODINGS:
            row = {"vectors": coding, "index": TOKENS, "documents": len(ids)}
            row["dimensions"] = dimensions
            if reason := why_not(coding, tokens, dimensions):
                rows.append(row | {"reason": reason})
                continue
            write_token_index(scratch / coding, ids, vectors, coding)
            index = TokenIndex.read(scratch / coding)
            scores = self._by_index(self.student, index)
            rows.append(row | self._kept(f"{TOKENS}-{coding}", scores, index.bytes_per_document))
        return rows

    def _kept(self, name: str, scores: Scores, size: float) -> dict[str, Any]:
        self._ranked(name, scores)
        quality = self._quality(name)
        own, lost = self._quality("student"), None
        if HEADLINE in quality:
            lost = quality[HEADLINE]["student"] - own[HEADLINE]["student"]
        return {"bytes_per_document": size, "quality": quality, "ndcg_difference": lost}


def _on_disk(student: LateInteraction, texts: Sequence[str], path: Path) -> list[Scores]:
    """Token vectors ``[tokens, d]`` of each text, made window by window and read from the file ``path``: those
    of a corpus are a hundred times the corpus."""
    shapes: list[tuple[int, int]] = []
    with path.open("wb") as file, track("tokens", len(texts)) as advance:
        for start in range(0, len(texts), _WINDOW):
            part = student.encode(texts[start : start + _WINDOW], "document")
            for each in part:
                each.tofile(file)
            shapes += [(int(each.shape[0]), int(each.shape[1])) for each in part]
            advance(len(part), sum(map(len, part)))
    total = sum(tokens for tokens, _ in shapes)
    if not total:
        return [np.zeros(shape, np.float32) for shape in shapes]
    kept = np.memmap(path, np.float32, "r", shape=(total, max(wide for _, wide in shapes)))
    return np.split(kept, np.cumsum([tokens for tokens, _ in shapes])[:-1])


def _write_graph(student: Student, folder: Path, digest: str) -> None:
    """``student`` as fp32 ONNX."""
    model = student.model
    if student.kind == "colbert":
        export_multi_vector(cast(MultiVectorEncoder, model), folder, source_digest=digest)
    elif student.kind == "bi-encoder":
        export_embedder(cast(SentenceTransformer, model), folder, source_digest=digest)
    else:
        export_cross_encoder(cast(CrossEncoder, model), folder, source_digest=digest)
