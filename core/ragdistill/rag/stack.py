"""``stack.yaml``: the parts of a RAG stack by name, and how many documents go from each to the next.

::

    rewriter: runs/rewriter
    embedder: {model: runs/embedder/export/onnx-int8, index: flat, k: 100}
    bm25: {k: 100}
    fusion: {constant: 60}
    reranker: {model: runs/reranker, k_in: 50, k_out: 10}
    generator: {model: runs/generator, contexts: 5}

Every part is a model (an alias, a Hub id, a folder) or is in a run folder: ``RUN`` and ``RUN/student`` are
its student, ``RUN/export/KIND`` is one of its exports.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Gt, MinLen
from pydantic import Strict

from ragdistill.config import Device
from ragdistill.errors import UserError, nearest
from ragdistill.mappings import checked, read_mapping
from ragdistill.rag.serving import ROLES, Role

Text = Annotated[str, MinLen(1)]
Depth = Annotated[int, Strict(), Gt(0)]


class _Finite:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class Named(_Finite):
    """What may be said of every part that is a model."""

    model: Text
    component: str | None = None
    """Which component opens it, where several could."""


@dataclass(frozen=True, kw_only=True)
class Rewrite(Named):
    """A query in other words."""

    anchor: Depth | None = None
    """The first documents of the query as it stands come before all others where the rewrite finds them
    among its first ``anchor``; see :func:`ragdistill.rag.retrieval.anchored`."""


@dataclass(frozen=True, kw_only=True)
class Embedding(Named):
    """Documents whose vectors are near the query's."""

    index: Text = "flat"
    """``flat``, ``hnsw``, ``ivfpq``, or the folder of an index that there is."""
    vectors: Literal["float32", "float16", "int8", "binary"] = "float32"
    k: Depth = 100


@dataclass(frozen=True, kw_only=True)
class Words(_Finite):
    """Documents whose words fit (BM25)."""

    k: Depth = 100


@dataclass(frozen=True, kw_only=True)
class Fusion(_Finite):
    """Reciprocal rank fusion of what embedder and words find."""

    constant: Annotated[float, Gt(0)] = 60.0
    k: Depth = 100


@dataclass(frozen=True, kw_only=True)
class Reranking(Named):
    """The first ``k_in`` documents read again, of which ``k_out`` are left."""

    k_in: Depth = 20
    k_out: Depth = 10
    fuse: Literal["none", "rrf"] = "none"
    """``rrf``: the order that they came in counts as much as the reranker's."""


@dataclass(frozen=True, kw_only=True)
class Generation(Named):
    """An answer from the first ``contexts`` documents."""

    contexts: Depth = 5


_SETTINGS: Mapping[Role, type[Named]] = {
    "rewriter": Rewrite,
    "embedder": Embedding,
    "reranker": Reranking,
    "generator": Generation,
}
_KEYS = (*ROLES, "bm25", "fusion", "name", "device")
_S = TypeVar("_S")


@dataclass(frozen=True, kw_only=True)
class _Head(_Finite):
    """What is said of the whole stack."""

    name: Text
    device: Device = "auto"


@dataclass(frozen=True)
class Slot:
    """One part as the file names it."""

    role: Role
    settings: Named
    options: Mapping[str, Any]
    """What is said beside the settings: the affair of the plugin that opens the part."""
    where: str
    """``FILE: ROLE``, for errors."""


@dataclass(frozen=True)
class Stack:
    """A stack file, read; nothing that it names was looked at."""

    file: Path
    name: str
    device: Device = "auto"
    slots: Mapping[Role, Slot] = field(default_factory=dict)
    bm25: Words | None = None
    fusion: Fusion = field(default_factory=Fusion)

    @property
    def anchor(self) -> int:
        """What is said of the rewriter; 0 for nothing."""
        said = self._settings("rewriter", Rewrite)
        return 0 if said is None else said.anchor or 0

    @property
    def embedding(self) -> Embedding | None:
        """What is said of the embedder."""
        return self._settings("embedder", Embedding)

    @property
    def reranking(self) -> Reranking | None:
        """What is said of the reranker."""
        return self._settings("reranker", Reranking)

    @property
    def generation(self) -> Generation | None:
        """What is said of the generator."""
        return self._settings("generator", Generation)

    def _settings(self, role: Role, kind: type[_S]) -> _S | None:
        slot = self.slots.get(role)
        return slot.settings if slot is not None and isinstance(slot.settings, kind) else None

    @property
    def depth(self) -> int:
        """Documents that retrieval finds of a query, at the most."""
        if self.bm25 is None and self.embedding is not None:
            return self.embedding.k
        if self.embedding is None and self.bm25 is not None:
            return self.bm25.k
        return self.fusion.k

    def as_json(self) -> dict[str, Any]:
        """What it says, resolved, as the report has it."""
        found: dict[str, Any] = {"name": self.name}
        for role, slot in self.slots.items():
            found[role] = asdict(slot.settings) | dict(slot.options)
        if self.bm25 is not None:
            found["bm25"] = asdict(self.bm25)
            if self.embedding is not None:
                found["fusion"] = asdict(self.fusion)
        return found


def read(file: Path) -> Stack:
    """The stack in ``file``.

    Raises:
        UserError: no YAML, an unknown key (the nearest is named), a value of another type or out of
            range, parts that do not fit each other.
    """
    said = read_mapping(file, "parts", "embedder: MiniLM")
    _known(said, _KEYS, str(file))
    named = {key: said[key] for key in ("name", "device") if said.get(key) is not None}
    head = checked(_Head, {"name": file.stem, **named}, file)
    stack = Stack(
        file,
        head.name,
        head.device,
        {role: _slot(file, role, said[role]) for role in ROLES if said.get(role) is not None},
        _section(file, "bm25", Words, said),
        _section(file, "fusion", Fusion, said) or Fusion(),
    )
    _check(stack, fused=said.get("fusion") is not None)
    return stack


def _slot(file: Path, role: Role, value: Any) -> Slot:
    where = f"{file}: {role}"
    values = {"model": value} if isinstance(value, str) else value
    if not isinstance(values, dict) or "model" not in values:
        raise UserError(
            "names no model", where=where, mend=f"write {role}: MODEL, or {role}: {{model: MODEL}}"
        )
    kind = _SETTINGS[role]
    own = {item.name for item in fields(kind)}
    mine = {key: said for key, said in values.items() if key in own}
    settings = checked(kind, mine, where)
    others = {str(key): said for key, said in values.items() if key not in own}
    return Slot(role, settings, others, where)


def _section(file: Path, key: str, kind: type[_S], said: Mapping[Any, Any]) -> _S | None:
    value = said.get(key)
    if value is None or value is False:
        return None
    values = {} if value is True else value
    if not isinstance(values, dict):
        raise UserError(
            f"{value!r} is no mapping", where=f"{file}: {key}", mend=f"write {key}: {{k: 100}}"
        )
    own = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    _known(values, own, f"{file}: {key}")
    return checked(kind, values, f"{file}: {key}")


def options(slot: Slot, kind: type[_S]) -> _S:
    """What is said of a part beside its settings, as the dataclass of the plugin that opens it.

    Raises:
        UserError: an unknown key, or a value that is not usable.
    """
    own = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    every = [*(item.name for item in fields(slot.settings)), *own]
    _known(slot.options, every, slot.where)
    return checked(kind, slot.options, slot.where)


def _known(values: Mapping[Any, Any], known: "list[str] | tuple[str, ...]", where: str) -> None:
    for key in values:
        if key not in known:
            raise UserError(
                f"unknown key {str(key)!r}{nearest(str(key), known)}",
                where=where,
                mend=f"there are: {', '.join(known)}",
            )


def _check(stack: Stack, *, fused: bool) -> None:
    """Refuse parts that do not fit each other."""
    file, reranking, generation = stack.file, stack.reranking, stack.generation
    if stack.embedding is None and stack.bm25 is None:
        raise UserError("finds no documents", where=file, mend="name an embedder, or bm25: true")
    if fused and (stack.embedding is None or stack.bm25 is None):
        raise UserError(
            "one thing alone cannot be fused",
            where=f"{file}: fusion",
            mend="name an embedder and bm25, or leave it out",
        )
    if reranking is not None and reranking.k_in > stack.depth:
        raise UserError(
            f"{reranking.k_in} documents of {stack.depth} that are found",
            where=f"{file}: reranker: k_in",
            mend="lower it, or raise k of what finds them",
        )
    if reranking is not None and reranking.k_out > reranking.k_in:
        raise UserError(
            f"{reranking.k_out} documents of {reranking.k_in} that are read",
            where=f"{file}: reranker: k_out",
            mend="lower it, or raise k_in",
        )
    left = reranking.k_out if reranking is not None else stack.depth
    if generation is not None and generation.contexts > left:
        raise UserError(
            f"{generation.contexts} documents of {left} that come this far",
            where=f"{file}: generator: contexts",
            mend="lower it, or have the parts before leave more",
        )
