"""The student as it is served: ONNX in fp32 and int8, each held against the student by what its rewrites
find, and the speed of all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill.data.collection import Query
from ragdistill.export.gates import (
    FP32,
    INT8,
    GateResult,
    Limits,
    Outcome,
    check_effect,
    with_fallback,
)
from ragdistill.export.int8 import ladder
from ragdistill.export.labels import export_token_classifier
from ragdistill.files import folder_bytes
from ragdistill.first_stage import Words
from ragdistill.metrics import trec
from ragdistill.metrics.latency import profile_requests
from ragdistill.metrics.retrieval import Task, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill.models.digest import digests
from ragdistill_query_rewriter import evaluation
from ragdistill_query_rewriter.rewriter import OnnxSelector
from ragdistill_query_rewriter.selecting import Opinion, Selector, decide
from ragdistill_query_rewriter.terms import TermStudent

OUTPUTS = ("export/onnx/model.onnx", "export/onnx-int8/model.onnx")
_TIMED = 200
"""Turns that speed is measured with."""


@dataclass(frozen=True)
class Bench:
    """Holds exports against the student on the same turns."""

    folder: Path
    """Of the run."""
    task: Task
    stage: Words
    student: TermStudent

    @cached_property
    def _opinions(self) -> list[Opinion]:
        return self.student.opinions(self.student.read(self.task.queries))

    @cached_property
    def rankings(self) -> Rankings:
        """What the student's rewrites find, as the stage before has left it."""
        return trec.read(self.folder / "rankings/student.trec")

    def export_all(self, seed: int) -> tuple[dict[str, Any], dict[str, Selector]]:
        """The report's entries, and what is served."""
        full, small = self.folder / "export/onnx", self.folder / "export/onnx-int8"
        student = self.student
        export_token_classifier(
            student.network,
            student.tokenizer,
            full,
            max_seq_length=student.settings.window,
            source_digest=digests(self.folder / "student").weights,
        )
        student.settings.write(full)
        fp32 = self._measure(full, FP32)
        kept = with_fallback(ladder(full, small), lambda path: self._measure(path, INT8))
        entries = {
            "onnx": entry(self.folder, self.task, Outcome("fp32", full, fp32, ()), seed),
            "onnx-int8": entry(self.folder, self.task, kept, seed),
        }
        return entries, {"onnx": OnnxSelector(full), "onnx-int8": OnnxSelector(small)}

    def _measure(self, export: Path, limits: Limits) -> GateResult:
        """The gate's figures; leaves ``rankings/NAME.trec``."""
        selector = OnnxSelector(export)
        told = selector.opinions(selector.read(self.task.queries))
        apart = [
            difference
            for mine, its in zip(self._opinions, told, strict=True)
            for difference in (
                abs(mine.lacking - its.lacking),
                *(abs(chance - its.words[word]) for word, chance in mine.words.items()),
            )
        ]
        ids = [document.id for document in self.task.documents]
        queries = self.task.queries
        settings = self.student.settings
        rewrites = [
            decide(query.text, each, settings) for query, each in zip(queries, told, strict=True)
        ]
        found = evaluation.search(self.stage, ids, queries, rewrites)
        write_rankings(self.folder, self.task, {export.name: found})
        result = check_effect(
            max(apart, default=0.0), self.rankings, found, self.task.qrels, limits
        )
        lost = evaluation.recall_lost(self.task.qrels, self.rankings, found)
        return replace(result, reasons=(*result.reasons, *lost))


def entry(folder: Path, task: Task, kept: Outcome[Any], seed: int) -> dict[str, Any]:
    """The report's entry of an export of the run ``folder``, whose queries' rankings lie beside the others'."""
    raw, teacher, found = (
        trec.read(folder / f"rankings/{name}.trec") for name in ("raw", "teacher", kept.folder.name)
    )
    systems = {"raw": raw, "teacher": teacher, "student": found}
    return {
        **kept.result.as_json(),
        "recipe": kept.name,
        "size_mb": round(folder_bytes(kept.folder) / 1e6, 3),
        "quality": evaluation.quality(task, systems, seed),
        "failed": [{"recipe": name, **each.as_json()} for name, each in kept.failed],
    }


def speed(systems: Mapping[str, Selector], queries: Sequence[Query]) -> dict[str, dict[str, Any]]:
    """How long a rewrite takes, one turn at a time, the systems in turns."""
    asked = [query for query in queries if query.context_turns][:_TIMED]
    if not asked:
        return {}

    def served(system: Selector) -> Callable[[int], object]:
        return lambda number: system.rewrite([asked[number]])

    serving = {name: served(system) for name, system in systems.items()}
    return profile_requests(serving, len(asked), items=1)
