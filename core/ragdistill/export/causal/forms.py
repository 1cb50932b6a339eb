"""All forms of one model, each written, held against the model and told in the report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ragdistill.export.causal import ctranslate, graph
from ragdistill.export.causal.ctranslate import CTranslateCausal, Quantization
from ragdistill.export.causal.onnx_runner import OnnxCausal
from ragdistill.export.causal.parity import FP32, INT8, Reference, ReplyLimits, ReplyResult
from ragdistill.export.causal.runner import Runner
from ragdistill.export.folder import GRAPH
from ragdistill.export.gates import Attempt, with_fallback
from ragdistill.export.int8 import ladder
from ragdistill.files import folder_bytes

log = logging.getLogger(__name__)

LIMITS: Mapping[str, ReplyLimits] = MappingProxyType(
    {"onnx": FP32, "onnx-int8": INT8, "ctranslate2": FP32, "ctranslate2-int8": INT8}
)
"""The forms there are, in the order they are made in, and what each is held to."""


@dataclass(frozen=True, slots=True)
class Export:
    """One form of the model."""

    folder: Path
    recipe: str
    """How it was made in the end."""
    result: ReplyResult
    failed: tuple[tuple[str, ReplyResult], ...]
    """Recipe and figures of each attempt before."""

    def as_json(self) -> dict[str, Any]:
        """Its entry under ``exports`` of report.json, but for its quality against the teacher."""
        return {
            **self.result.as_json(),
            "recipe": self.recipe,
            "size_mb": round(folder_bytes(self.folder) / 1e6, 3),
            "attempts": [{"recipe": name, **each.as_json()} for name, each in self.failed],
        }


def export_all(
    source: Path,
    out: Path,
    reference: Reference,
    *,
    source_digest: str,
    kinds: Sequence[str] = tuple(LIMITS),
    threads: int | None = None,
) -> dict[str, Export]:
    """Write the model in ``source`` in each of the forms asked for into ``out/KIND``.

    An int8 form that fails its gate is made again, more gently, and in fp32 in the end.

    Args:
        source: a Hugging Face folder; no code in it is run.
        out: ``RUN/export``.
        reference: the same model, and what it is asked.
        source_digest: SHA-256 of the weights in ``source``.
        kinds: of ``LIMITS``; ``onnx-int8`` is made of ``onnx``, which must be among them.
        threads: those of a CPU that exports run on; None for all.

    Raises:
        UserError: the architecture has no such form, or what runs it is missing.
    """
    made = {}
    for kind in (kind for kind in LIMITS if kind in kinds):
        measure = partial(_measure, reference, threads, kind)
        kept = with_fallback(_attempts(kind, source, out, source_digest), measure)
        made[kind] = Export(kept.folder, kept.name, kept.result, kept.failed)
        log.info("%s (%s): %s", kind, kept.name, "; ".join(kept.result.reasons) or "passed")
    return made


def _measure(reference: Reference, threads: int | None, kind: str, folder: Path) -> ReplyResult:
    return reference.check(load(folder, threads=threads), LIMITS[kind], kind)


def load(folder: Path, *, threads: int | None = None) -> Runner:
    """The exported model in ``folder``, whatever runs it.

    Raises:
        UserError: ``folder`` is not a whole export, or what runs it is missing.
    """
    if (folder / GRAPH).exists():
        return OnnxCausal(folder, threads=threads)
    return CTranslateCausal(folder, threads=threads)


def _attempts(kind: str, source: Path, out: Path, digest: str) -> list[Attempt]:
    """Ways to make a form, the best first."""
    folder = out / kind
    if kind == "onnx-int8":
        return ladder(out / "onnx", folder)
    if kind == "onnx":
        return [Attempt("fp32", partial(graph.write, source, folder, source_digest=digest))]
    ways: tuple[Quantization, ...] = ("int8", "float32")
    tried = ways if kind == "ctranslate2-int8" else ways[1:]
    return [
        Attempt(way, partial(ctranslate.write, source, folder, way, source_digest=digest))
        for way in tried
    ]
