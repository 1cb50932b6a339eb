"""The swap matrix: every mix of two stacks' parts on the same queries, each stage of each mix done once.

What a stage makes of a query depends on the stages before it alone. So mixes that begin alike share their
beginning, and what is left is asked of the cache first: a cell costs what is new in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal

from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.files import sha256_json
from ragdistill.rag.cache import Cache
from ragdistill.rag.parts import Parts, told_of
from ragdistill.rag.pipeline import Seen, Stage
from ragdistill.rag.retrieval import Corpus, StackRetriever
from ragdistill.rag.serving import ROLES, SIDES, Role, Side
from ragdistill.rag.stages import Generating, RerankingStage, Retrieving, Rewriting

Mix = tuple[Side, ...]
"""Whose part plays each of the roles that are swapped."""
TEACHER: Mix = ("teacher",)
STUDENT: Mix = ("student",)
Swaps = Literal["all", "one-at-a-time"]


@dataclass(frozen=True)
class Work:
    """Pieces of work of one part: what all mixes together ask of it, and what its own stack alone would;
    of a part that both stacks have, each of them alone."""

    matrix: int
    alone: int
    seconds: float
    """What those that its own stack asks for took."""
    documents: int = 0
    """Texts that it works through once for all queries, beside the requests."""

    def as_json(self) -> dict[str, Any]:
        """As the report has it."""
        return {"matrix": self.matrix, "alone": self.alone, "documents": self.documents}


@dataclass(frozen=True)
class Results:
    """What came of the mixes."""

    swapped: tuple[Role, ...]
    seen: Mapping[Mix, Sequence[Seen]]
    """Of each mix every query, in their order."""
    work: Mapping[Role, Mapping[Side, Work]] = field(default_factory=dict)

    def pure(self, side: Side) -> Mix:
        """The mix of one stack alone."""
        return (side,) * len(self.swapped)


def alone(count: int, place: int) -> Mix:
    """The mix of ``count`` parts in which that at ``place`` alone is the student's."""
    return TEACHER * place + STUDENT + TEACHER * (count - place - 1)


def step(count: int, place: int) -> Mix:
    """The mix of ``count`` parts in which those before ``place`` are the student's."""
    return STUDENT * place + TEACHER * (count - place)


class Matrix:
    """Two stacks over one corpus."""

    def __init__(self, teacher: Parts, student: Parts, corpus: Corpus, cache: Cache) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: the stacks are the same, one alone answers, or an index does not fit.
        """
        if (teacher.generator is None) != (student.generator is None):
            one, other = (teacher, student) if student.generator is None else (student, teacher)
            raise UserError(
                f"names no generator, and {one.stack.file} does",
                where=other.stack.file,
                mend="name one in both, or in none",
            )
        self.parts: Mapping[Side, Parts] = {"teacher": teacher, "student": student}
        self.corpus, self._cache = corpus, cache
        for parts in self.parts.values():
            _admit(parts)
        self.stages: Mapping[Side, Mapping[Role, Stage]] = {
            side: dict(stages_of(parts, corpus, cache)) for side, parts in self.parts.items()
        }
        if not self.swapped:
            raise UserError(
                f"is the same stack as {teacher.stack.file}: there is nothing to compare",
                where=student.stack.file,
                mend="name another part in one of them",
            )

    @cached_property
    def swapped(self) -> tuple[Role, ...]:
        """The roles that the two stacks fill differently, or that one of them leaves out."""
        return tuple(
            role
            for role in ROLES
            if _identity(self.stages["teacher"].get(role))
            != _identity(self.stages["student"].get(role))
        )

    def mixes(self, swaps: Swaps) -> list[Mix]:
        """The cells: the two stacks themselves first, then all others, or those in which one part alone
        is the student's."""
        count = len(self.swapped)
        pure = [(side,) * count for side in SIDES]
        if swaps == "all":
            others = list(product(SIDES, repeat=count))
        else:
            others = [alone(count, place) for place in range(count)]
        return list(dict.fromkeys([*pure, *others]))

    def run(self, queries: Sequence[Query], mixes: Sequence[Mix]) -> Results:
        """Every mix on all queries: one stage after another, so that one part at a time is loaded.

        Raises:
            UserError: a part cannot be loaded or fails on every query, nothing is found at all, or the
                cache cannot be written.
        """
        known: dict[Mix, list[Seen]] = {(): [Seen(query, query.text) for query in queries]}
        work: dict[Role, dict[Side, Work]] = {}
        for role in ROLES:
            swaps = role in self.swapped
            made: dict[Mix, list[Seen]] = {}
            for side in SIDES if swaps else SIDES[:1]:
                stage = self.stages[side].get(role)
                begun = [
                    mix
                    for mix in _own_first(known, side)
                    if not swaps or _begins(mixes, (*mix, side))
                ]
                units = _Units(stage, SIDES if not swaps else (side,))
                for mix in begun:
                    seen = known[mix] if stage is None else stage.run(known[mix], self._cache)
                    units.add(mix, known[mix], seen)
                    made[(*mix, side) if swaps else mix] = seen
                if stage is not None:
                    stage.close()
                    work.setdefault(role, {})[side] = units.work
            known = made
            if role == "embedder":
                _refuse_nothing(known)
        return Results(self.swapped, {mix: known[mix] for mix in mixes}, work)


class _Units:
    """Counts the pieces of work of a stage."""

    def __init__(self, stage: Stage | None, owners: Sequence[Side]) -> None:
        """``owners``: whose stack the stage is part of."""
        self._stage, self._owners = stage, owners
        self._alone = 0
        self._all: set[bytes] = set()
        self._seconds = 0.0

    def add(self, mix: Mix, before: Sequence[Seen], after: Sequence[Seen]) -> None:
        """Count what a mix asks for."""
        if self._stage is None:
            return
        asked = {unit for seen in before if not seen.error for unit in self._stage.units(seen)}
        self._all |= asked
        pure = sum(set(mix) <= {owner} for owner in self._owners)
        self._alone += pure * len(asked)
        self._seconds += pure * sum(each.seconds.get(self._stage.role, 0.0) for each in after)

    @property
    def work(self) -> Work:
        """What was counted."""
        documents = 0 if self._stage is None else self._stage.documents
        return Work(len(self._all), self._alone, self._seconds, documents)


def stages_of(parts: Parts, corpus: Corpus, cache: Cache) -> Iterator[tuple[Role, Stage]]:
    """The stages of a stack, in the order in which a query meets them; none has loaded anything."""
    stack = parts.stack
    if parts.rewriter is not None:
        yield "rewriter", Rewriting(parts.rewriter, stack.anchor)
    yield "embedder", Retrieving(StackRetriever(parts, corpus, cache))
    if parts.reranker is not None and stack.reranking is not None:
        yield "reranker", RerankingStage(parts.reranker, stack.reranking, corpus)
    if parts.generator is not None and stack.generation is not None:
        yield "generator", Generating(parts.generator, stack.generation, corpus)


def digest(stages: Mapping[Role, Stage]) -> str:
    """Of all that changes what a stack of these stages makes of a query."""
    return sha256_json({role: stage.identity for role, stage in stages.items()})


def _admit(parts: Parts) -> None:
    """Refuse more contexts than the generator reads, before anything is asked."""
    stack = parts.stack
    if parts.generator is not None and stack.generation is not None:
        with told_of(f"{stack.file}: generator"):
            parts.generator.admit(stack.generation.contexts)


def _identity(stage: Stage | None) -> str:
    return "" if stage is None else stage.identity


def _own_first(known: Mapping[Mix, object], side: Side) -> list[Mix]:
    """What was begun, that of ``side`` alone first: what a part takes is measured in its own stack."""
    return sorted(known, key=lambda mix: not set(mix) <= {side})


def _begins(mixes: Sequence[Mix], beginning: Mix) -> bool:
    """Whether one of ``mixes`` begins so."""
    return any(mix[: len(beginning)] == beginning for mix in mixes)


def _refuse_nothing(known: Mapping[Mix, Sequence[Seen]]) -> None:
    for mix, seen in known.items():
        if not any(each.found or each.error for each in seen):
            raise UserError(
                f"the {mix[-1] if mix else 'teacher'}'s stack finds no document for any query",
                where="--data",
                mend="give data whose queries are about its documents",
            )
