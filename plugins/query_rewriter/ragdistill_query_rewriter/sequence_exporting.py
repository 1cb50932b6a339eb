"""The student that writes, as ctranslate2 serves it: in int8, and in fp32 where that fails, each held against the
student by what it thinks likely to be written, and by what its expansions find."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.export import seq2seq
from ragdistill.export.causal import ctranslate, parity
from ragdistill.export.causal.ctranslate import Quantization
from ragdistill.export.causal.parity import Reference, ReplyResult
from ragdistill.export.folder import atomic_folder
from ragdistill.export.gates import INT8, Attempt, GateResult, check_effect, with_fallback
from ragdistill.metrics import trec
from ragdistill.metrics.retrieval import Task, write_rankings
from ragdistill.metrics.trec import Rankings
from ragdistill.models.digest import digests
from ragdistill_query_rewriter import evaluation, sequence_runtime, settings
from ragdistill_query_rewriter.expander import Expander
from ragdistill_query_rewriter.exporting import entry

log = logging.getLogger(__name__)

NAME = "ctranslate2-int8"
_CHECKED = 64
"""Queries whose next tokens are compared."""
_LIMITS = replace(INT8, overlap_at_10=0.0)
"""One word that differs changes a ranking, and need not make it worse: what is found is held to, not where."""


@dataclass(frozen=True)
class Held:
    """What was measured of an export."""

    replies: ReplyResult
    """Of its next tokens."""
    effect: GateResult
    """Of what its expansions find."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each limit that is broken, with the figure; empty when it passed."""
        return (*self.replies.reasons, *self.effect.reasons)

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        told = self.replies.as_json()
        del told["quality_difference"]  # replies are worth what they find
        whole = {"reasons": list(self.reasons), "passed": self.passed}
        return self.effect.as_json() | told | whole


@dataclass(frozen=True)
class Bench:
    """Holds exports against the student on the same queries."""

    folder: Path
    """Of the run."""
    student: Expander
    task: Task
    search: Callable[[list[str]], Rankings]
    """What the task's queries find as they are rewritten."""

    @cached_property
    def _reference(self) -> Reference:
        queries = self.task.queries[:_CHECKED]
        prompts = [self.student.source(query.text) for query in queries]
        return Reference(self.student.runner, prompts, self.student.settings.new_tokens)

    def export(self, seed: int) -> tuple[dict[str, Any], dict[str, Expander]]:
        """The report's entry and what is served, by name; nothing where ctranslate2 is not installed, or does
        not take such a model, which is said."""
        folder = self.folder / "export" / NAME
        ways: tuple[Quantization, ...] = ("int8", "float32")
        source = self.folder / "student"
        attempts = [Attempt(way, partial(write, source, folder, way)) for way in ways]
        try:
            kept = with_fallback(attempts, self._measure)
        except UserError as error:
            log.warning("no export %s: %s", NAME, error.format_message())
            # One of an earlier student would be taken for this one's.
            shutil.rmtree(folder, ignore_errors=True)
            return {}, {}
        told = entry(self.folder, self.task, kept, seed)
        return {NAME: told}, {NAME: sequence_runtime.load(folder)}

    def _measure(self, export: Path) -> Held:
        """The gate's figures; leaves ``rankings/NAME.trec``."""
        served = sequence_runtime.load(export)
        replies = self._reference.check(served.runner, parity.INT8, NAME)
        found = self.search(served.rewrite(self.task.queries))
        write_rankings(self.folder, self.task, {NAME: found})
        mine = trec.read(self.folder / "rankings/student.trec")
        qrels = self.task.qrels
        effect = check_effect(replies.max_abs_diff, mine, found, qrels, _LIMITS)
        lost = evaluation.recall_lost(qrels, mine, found)
        return Held(replies, replace(effect, reasons=(*effect.reasons, *lost)))


def write(student: Path, folder: Path, quantization: Quantization) -> Path:
    """Write the student in the folder ``student`` for ctranslate2 into ``folder``, whole or not at all, and say
    where.

    Raises:
        UserError: ctranslate2 is missing or does not know the architecture.
    """
    told = settings.read_sequence(student)
    writer = ctranslate.write if told.student == "causal" else seq2seq.write
    with atomic_folder(folder) as whole:
        writer(student, whole, quantization, source_digest=digests(student).weights)
        told.write(whole)
    return folder
