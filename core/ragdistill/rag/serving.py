"""What the parts of a RAG stack can do, and how a plugin announces which of them it opens."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from ragdistill.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdistill.data.training_texts import Role as TextRole
    from ragdistill.rag.stack import Stack

    Floats = NDArray[np.float32]

Role = Literal["rewriter", "embedder", "reranker", "generator"]
ROLES: tuple[Role, ...] = get_args(Role)
"""The parts of a stack, in the order in which a query meets them."""
Side = Literal["teacher", "student"]
SIDES: tuple[Side, ...] = get_args(Side)
"""Whose stack a part is of."""
Advance = Callable[[int, int], None]


class Part(Protocol):
    """What all parts have in common. A part loads nothing before :meth:`load`: where all that it would
    say is known, it need not be loaded at all. Once it is loaded several threads may ask it at once."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that changes what it says: weights, tokenizer, prompts, precision."""

    def describe(self) -> dict[str, Any]:
        """Its entry in the report."""

    def load(self) -> None:
        """Get ready, so that the first request waits no longer than the others.

        Raises:
            UserError: it cannot be loaded.
        """

    def close(self) -> None:
        """Give the memory back; what comes after needs it."""


class Rewriter(Part, Protocol):
    """Makes a question that can be understood by itself."""

    def rewrite(self, turns: Sequence[str], query: str) -> str:
        """``query`` without its need of the conversation's ``turns`` before it."""


class Embedder(Part, Protocol):
    """Vectors of texts."""

    @property
    def spaces(self) -> Sequence[str]:
        """Digests of the weights in whose vector space its vectors are: an index is searched only if
        it holds vectors of one of them."""

    @property
    def index(self) -> Path | None:
        """The index that it is for, where it embeds no documents."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def encode(
        self, texts: Sequence[str], role: "TextRole", advance: Advance | None = None
    ) -> "Floats":
        """Unit vectors ``[n, d]`` of ``texts``, in their order."""


class Reranker(Part, Protocol):
    """Says how well documents answer a query."""

    def prepare(self, documents: Sequence[str]) -> None:
        """Make what can be made of ``documents`` before a query comes, in place of what was made of
        others; nothing, where query and document are read together."""

    def scores(self, query: str, documents: Sequence[str]) -> "Floats":
        """Scores ``[n]``, of documents that were prepared; higher fits better."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a generator says, where it knows how likely that was to it."""

    text: str
    log_probability: float
    """The mean of the answer's tokens (natural logarithm)."""


class Generator(Part, Protocol):
    """Answers a question from contexts."""

    def admit(self, contexts: int) -> None:
        """Look whether so many contexts can be read at once.

        Raises:
            UserError: they cannot.
        """

    def answer(self, question: str, contexts: Sequence[str]) -> str | Answer:
        """The answer; contexts come best first, and ``[1]`` cites the first."""


class Retriever(Protocol):
    """Finds documents of one corpus."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that changes what it finds, the corpus too."""

    def search(self, query: str) -> Sequence[tuple[str, float]]:
        """Documents by their ids, with scores, best first, no document twice."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a stack names as a part, understood."""

    text: str
    """As it is written, without the scheme."""
    path: Path | None = None
    """Its folder or file, where it is one of this disk."""
    run: Path | None = None
    """The folder of the run that it belongs to."""
    manifest: Mapping[str, Any] | None = None
    """What ``run.json`` of that run says."""
    exported: bool = False
    """Whether it is an export."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The options of its run; none where it has none."""
        found: Mapping[str, Any] = (self.manifest or {}).get("config", {})
        return found

    @property
    def name(self) -> str:
        """What to call it: of what is in a run, the run's name and the place in it."""
        if self.run is None or self.path is None:
            return self.path.name if self.path is not None else self.text
        return (Path(self.run.resolve().name) / self.path.relative_to(self.run)).as_posix()


Open = Callable[[Reference, Any, str], Part]
"""Takes what is named, its options, and the device; raises UserError where it serves no such thing."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a part that can be told nothing."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a stack a part stands that is to be distilled, and what is there of the parts before it."""

    role: Role
    stack: "Stack"
    """The teachers'."""
    teachers: Mapping[Role, str]
    """The models of its parts, each as ``--teacher`` takes it."""
    given: Mapping[str, Any]
    """Options of the component that the user gave; they win over what the plugin says."""
    runs: Mapping[Role, Path] = field(default_factory=dict)
    """Finished runs of the parts before it; none where each part is distilled apart."""
    awaited: frozenset[Role] = frozenset()
    """Parts before it whose runs are not there yet: this is a plan, and what costs little stands in."""
    contexts: Path | None = None
    """TREC run file of what the students before it find for each query; of a generator."""

    @property
    def said(self) -> Mapping[str, Any]:
        """What the stack says of the part beside the settings of its role; what is None is not said."""
        options = self.stack.slots[self.role].options
        return {key: value for key, value in options.items() if value is not None}


Distils = Callable[[Position], Mapping[str, Any]]
"""Says by which options of its component a part is distilled where it stands, beside ``teacher``, ``data``,
``seed``, ``device`` and ``eval_queries``; raises UserError where it cannot be."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How one kind of part is opened, as a plugin announces it."""

    role: Role
    component: str
    """Whose runs it opens, as ``run.json`` names them."""
    target: str
    """An :data:`Open`: ``"package.module:function"``. Imported by :meth:`open` only."""
    options: type = NoOptions
    """Dataclass of what a stack may say of the part, beside what it may of every part of the role."""
    models: bool = False
    """Whether it also opens what is no run: a model by its name or folder."""
    scheme: str = ""
    """What begins with ``SCHEME:`` is opened by it, whatever follows."""
    distils: str = ""
    """A :data:`Distils`, by its address as the target is one: the component's command can make a student of
    the part, and ``ragdistill distill-all`` has it do so."""

    def open(self, reference: Reference, options: Any, device: str) -> Part:
        """Import the target (this is where torch gets imported), and have it open the part.

        Raises:
            UserError: a package is missing, or the part cannot be opened.
        """
        opens: Open = _imported(self.target)
        return opens(reference, options, device)

    def options_at(self, position: Position) -> Mapping[str, Any]:
        """By which options the component distils the part at ``position``.

        Raises:
            UserError: a package is missing, or the part cannot be distilled there.
        """
        says: Distils = _imported(self.distils)
        return says(position)


def _imported(address: str) -> Any:
    module, _, attribute = address.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise UserError(
            f"needs the Python package {error.name!r}", mend=f"pip install '{error.name}'"
        ) from error
