"""The parts of a teachers' stack as runs of their components: which options each is distilled with, and on what
data.

Each part is an ordinary run below one folder, so it resumes as every run does, and has its own report.
"""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill.cli.component import as_typed, choose_method, command_of
from ragdistill.cli.runs import Base
from ragdistill.config import Device, named, resolve
from ragdistill.data import beir
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import divided
from ragdistill.distiller import STAGES
from ragdistill.errors import UserError
from ragdistill.rag import contexts, students
from ragdistill.rag.compare import Comparison, compare
from ragdistill.rag.parts import open_parts, told_of
from ragdistill.rag.serving import ROLES, Position, Role, Serving
from ragdistill.rag.stack import Stack, read
from ragdistill.rag.students import COMPONENT, ORDER, Given
from ragdistill.run import read_manifest

COMPARED = "compare"
_QUESTIONS: tuple[Role, ...] = ("rewriter", "generator")
"""Parts that cannot be taught without questions, which must not be those that are measured on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the command is asked for."""

    stack: Path
    data: str
    out: Path
    given: Given
    keep: frozenset[Role] = frozenset()
    independent: bool = False
    eval_queries: int | None = None
    seed: int = 0
    device: Device | None = None


class Cascade:
    """A teachers' stack, and the students that are made of it."""

    def __init__(self, asked: Asked) -> None:
        """Nothing is done yet.

        Raises:
            UserError: whatever the stack or what is said of its students is refused for.
        """
        self.asked, self.out = asked, asked.out
        self._for_now: Path | None = None
        stack = read(asked.stack)
        self.stack = (
            stack if asked.device is None else dataclasses.replace(stack, device=asked.device)
        )
        open_parts(self.stack)
        self.roles = _to_distil(self.stack, asked)
        self.servings: Mapping[Role, Serving] = {
            role: students.component_of(self.stack.slots[role], asked.given[role])
            for role in self.roles
        }
        self._teachers = {
            role: students.teacher_of(slot, self.stack) for role, slot in self.stack.slots.items()
        }

    def folder(self, role: Role) -> Path:
        """The run of a part."""
        return self.out / role

    def awaited(self, role: Role) -> list[Role]:
        """The parts that are distilled before it, and are not finished; none where each is distilled apart."""
        return [each for each in self._before(role) if not self.finished(each)]

    def found(self) -> bool:
        """Whether the students have found the contexts of the generator's questions."""
        return self._questions.is_dir() and self._contexts.is_file()

    def wants_contexts(self) -> bool:
        """Whether they have to look again: what they find may be other than what an unfinished run began with,
        which that run then refuses."""
        if "generator" not in self.roles or self.asked.independent:
            return False
        if not (self.finished("generator") and self.found()):
            return True
        known = read_manifest(self.folder("generator")).get("config", {})
        return bool(known.get("eval_queries") != self.base("generator").config.eval_queries)

    def finished(self, role: Role) -> bool:
        """Whether it has nothing left to do."""
        if not (self.folder(role) / "run.json").is_file():
            return False
        stages = read_manifest(self.folder(role)).get("stages", {})
        return all(stages.get(stage, {}).get("state") == "done" for stage in STAGES)

    @cached_property
    def collection(self) -> Collection:
        """The data as they are given."""
        return load(self.asked.data)

    @cached_property
    def divides(self) -> bool:
        """Whether one split of judged queries is all there is, and some are needed to learn from."""
        found = self.collection.qrels
        asks = any(role in _QUESTIONS for role in self.roles)
        return asks and bool(found) and not found.get("train")

    @property
    def _divided(self) -> Path:
        return self.out / "data" / _named(self.collection)

    @property
    def data(self) -> str:
        """What all parts learn from and are measured on: as it was given, or as it was divided."""
        if not self.divides:
            return self.asked.data
        return str(self._divided if self._for_now is None else self._for_now)

    @property
    def _contexts(self) -> Path:
        return self.out / "contexts.trec"

    @property
    def _questions(self) -> Path:
        return self.out / "asked" / _named(self.collection)

    def base(self, role: Role, *, planned: bool = False) -> Base:
        """The run of a part, with all its options.

        Args:
            planned: whether the parts before it may still be to come, so that something stands in for them.

        Raises:
            UserError: an option is unknown or not usable.
        """
        asked, component = self.asked, self.servings[role].component
        command = command_of(component)
        with told_of(role):
            own = named(_without(asked.given[role], COMPONENT), command.config, students.SET)
            given = {
                key: as_typed(command.config, key, value) if isinstance(value, str) else value
                for key, value in own.items()
            }
            position = self._position(role, given, planned=planned)
            retrieved = position.contexts is not None
            options = {
                "teacher": self._teachers[role],
                "data": str(self._questions) if retrieved else self.data,
                "seed": asked.seed,
                "device": self.stack.device,
                "eval_queries": asked.eval_queries,
                **named(self.servings[role].options_at(position), command.config, component),
                **given,
            }
            known = {key: value for key, value in options.items() if value is not None}
            config = resolve(command.config, None, known)
            method = choose_method(component, command.chosen(config))
        return Base(component, method, config, self.folder(role))

    def _position(self, role: Role, given: Mapping[str, Any], *, planned: bool) -> Position:
        runs = {each: self.folder(each) for each in self._before(role) if self.finished(each)}
        awaited = set(self.awaited(role)) if planned else set[Role]()
        ranked = None
        if role == "generator" and not self.asked.independent:
            ranked = self._contexts if self.found() and not awaited else None
            awaited |= {"embedder"} if ranked is None and planned else set()
        return Position(role, self.stack, self._teachers, given, runs, frozenset(awaited), ranked)

    def _before(self, role: Role) -> list[Role]:
        if self.asked.independent:
            return []
        return [each for each in ORDER[: ORDER.index(role)] if each in self.roles]

    def bases(self) -> dict[Role, Base]:
        """Every run as it can be told before the parts before it are there."""
        return {role: self.base(role, planned=True) for role in self.roles}

    def divide(self) -> None:
        """Set questions apart that nobody learns from, once for all parts.

        Raises:
            UserError: there are too few.
        """
        if self.divides and not self._divided.is_dir():
            beir.write(self._divided, divided(self.collection, self.asked.seed))

    @contextmanager
    def divided_for_now(self) -> Iterator[None]:
        """The same for as long as this lasts, and outside of the folder: for what only looks."""
        if not self.divides or self._divided.is_dir():
            yield
            return
        with tempfile.TemporaryDirectory() as scratch:
            self._for_now = Path(scratch) / self._divided.name
            try:
                beir.write(self._for_now, divided(self.collection, self.asked.seed))
                yield
            finally:
                self._for_now = None

    def retrieve(self) -> None:
        """Have the students so far find contexts for what the generator learns from and is measured on."""
        config = self.base("generator", planned=True).config
        collection = load(self.data)
        queries = contexts.asked_of(
            collection, config.train_items, config.eval_queries, config.seed
        )
        retriever = self.out / "retriever.yaml"
        students.write(retriever, self.stack, self.served(), without=("generator",))
        found = contexts.find(retriever, collection, queries, self.out)
        contexts.write(found, collection, self._questions, self._contexts)

    def served(self) -> dict[Role, Path]:
        """What of each finished part serves."""
        done = [role for role in self.roles if self.finished(role)]
        return {role: students.served(self.folder(role)) for role in done}

    def compare(self) -> dict[str, Any]:
        """The two stacks against each other; the report."""
        files = self.out / "teacher.yaml", self.out / "student.yaml"
        students.write(files[0], self.stack, {})
        students.write(files[1], self.stack, self.served())
        asked = self.asked
        return compare(
            Comparison(
                *files,
                self.data,
                self.out / COMPARED,
                eval_queries=asked.eval_queries,
                seed=asked.seed,
                cache=self.out,
            )
        )


def _to_distil(stack: Stack, asked: Asked) -> tuple[Role, ...]:
    """The parts that get a student, in their order."""
    for role in ROLES:
        told = "--keep" if role in asked.keep else students.SET if asked.given[role] else None
        if told is not None and role not in stack.slots:
            raise UserError(
                f"there is no {role} in {stack.file}",
                where=told,
                mend=f"it has {', '.join(stack.slots)}",
            )
    found = tuple(role for role in ORDER if role in stack.slots and role not in asked.keep)
    if not found:
        raise UserError("leaves no part to distil", where="--keep", mend="keep fewer of them")
    return found


def _named(collection: Collection) -> str:
    """A folder's name for what is made of the collection."""
    return collection.name.replace("/", "-") or "data"


def _without(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}
