"""Stack files from finished runs: the teachers' of what each run learnt from, the students' of what it
made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.files import write_text
from ragdistill.rag.parts import EXPORTS, relative
from ragdistill.rag.serving import ROLES, SIDES, Role, Side
from ragdistill.run import read_manifest

HEAD = "# A RAG stack for `ragdistill rag compare`; see docs/rag.md.\n"
_UNSERVED = ("human", "rm3")
"""What a rewriter that learnt from the data's own rewrites, or from retrieval feedback, has as its teacher."""
_EXPANDING = ("task", "expansion_tokens", "original_weight", "precision")
_TOLD: Mapping[Role, tuple[str, ...]] = {
    "rewriter": ("rewrite_tokens", "precision"),
    "embedder": (),
    "reranker": ("reading", "precision", "max_length"),
    "generator": ("style", "answer_tokens", "window"),
}
"""Options of a run that its teacher was asked by; a run's student brings its own."""


def write_stacks(runs: Mapping[Role, Path], out: Path) -> tuple[Path, Path]:
    """Write ``teacher.yaml`` and ``student.yaml`` into ``out``, and say where they are.

    Args:
        runs: finished runs by the part that they made; a run's export is named by its folder.

    Raises:
        UserError: one is no run, one exists already, or there is no part that finds documents.
    """
    if "embedder" not in runs:
        raise UserError(
            "finds no documents", where="--embedder", mend="name the run of an embedder"
        )
    files = out / "teacher.yaml", out / "student.yaml"
    for file in files:
        if file.exists():
            raise UserError("exists already", where=file, mend="choose another --out")
    for file, side in zip(files, SIDES, strict=True):
        stack = {role: _part(role, runs[role], out, side) for role in ROLES if role in runs}
        _fit(stack)
        write_text(file, as_yaml(stack))
    return files


def _part(role: Role, run: Path, out: Path, side: Side) -> dict[str, Any]:
    """What a stack says of the part."""
    manifest = read_manifest(run.parent.parent if run.parent.name == EXPORTS else run)
    config: Mapping[str, Any] = manifest.get("config", {})
    told: dict[str, Any] = {"model": relative(run, out)}
    # Neither humans nor feedback serve a stack: both have the student then.
    if side == "teacher" and config.get("teacher") not in _UNSERVED:
        options = _EXPANDING if config.get("task") == "expand" else _TOLD[role]
        told = {"model": _named(str(config.get("teacher")), out)}
        told |= {key: config[key] for key in options if config.get(key) is not None}
        told |= {"fuse": "rrf"} if role == "reranker" and _fused(manifest) else {}
    if role == "reranker":
        told |= {"k_in": config.get("candidates", 20), "k_out": 10}
    if role == "generator":
        told["contexts"] = config.get("contexts", 3)
    return told


def _fit(stack: Mapping[Role, dict[str, Any]]) -> None:
    """No part leaves less than the next one reads, and none reads more than there is."""
    reranker, generator = stack.get("reranker"), stack.get("generator")
    if reranker is not None:
        reranker["k_out"] = min(reranker["k_out"], reranker["k_in"])
        if reranker["k_in"] > 100:
            stack["embedder"]["k"] = reranker["k_in"]
    if reranker is not None and generator is not None:
        generator["contexts"] = min(generator["contexts"], reranker["k_out"])


def _fused(manifest: Mapping[str, Any]) -> bool:
    """Whether the first stage's score counted as a teacher's, too."""
    told = manifest.get("stages", {}).get("evaluate", {}).get("result") or {}
    teacher = told.get("teacher") or {}
    return len(teacher.get("scores", ())) > len(teacher.get("members", (teacher,)))


def _named(model: str, out: Path) -> str:
    """A model as the stack file in ``out`` names it."""
    path = Path(model).expanduser()
    return relative(path, out) if path.exists() else model


def as_yaml(stack: Mapping[Any, Any]) -> str:
    """A stack file that says so."""
    import yaml

    text: str = yaml.safe_dump(dict(stack), sort_keys=False, allow_unicode=True)
    return HEAD + text
