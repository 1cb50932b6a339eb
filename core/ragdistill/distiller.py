"""What a plugin provides to have a distillation run: four stages, announced by a Method."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

from ragdistill.config import RunConfig
from ragdistill.errors import UserError

Stage = Literal["collect", "train", "evaluate", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)

Section = Mapping[str, Any]
"""What a stage adds to report.json, e.g. ``{"quality": {"nDCG@10": {"teacher": 0.41, ...}}}``.
``items`` and ``tokens`` at its top are what the stage worked through."""

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do and cost, told by ``--dry-run``; unknown is None, never 0."""

    steps: tuple[str, ...]
    """One line for people each: what is collected, from whom, what is trained."""
    items: int | None = None
    """So many of the ``unit`` are asked of the teacher."""
    tokens: int | None = None
    store_bytes: int | None = None
    seconds: float | None = None
    usd: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "texts"
    """What ``items`` counts, in words."""


class Distiller(ABC, Generic[Config]):
    """One way of teaching a student.

    The kernel calls the four stages in order. Whatever one stage hands to the next, it leaves
    in the run folder, so that each can be run alone and a killed run goes on where it was. A
    stage returns what it adds to the report. A stage that is called again after it was cut
    short goes on from what it finds.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder

    joint: ClassVar[tuple[Stage, ...]] = ()
    """Stages in which all processes take part where several were started for a run; in the others
    the first works alone."""

    @abstractmethod
    def inputs(self) -> Mapping[str, str]:
        """Digests of what the run stands on (``teacher``, ``student``, ``data``): a run folder
        is never resumed with others."""

    @abstractmethod
    def plan(self) -> Plan:
        """What the run would do and cost, without doing it."""

    def check_joint(self) -> None:
        """Raise ``UserError`` where what is asked for is the affair of one process, and several were
        started; each asks this of itself, before they meet."""

    @abstractmethod
    def collect(self) -> Section:
        """Ask the teacher; keep its answers in the signal store."""

    @abstractmethod
    def train(self) -> Section:
        """Fit the student to those answers; leave it in ``student/``."""

    @abstractmethod
    def evaluate(self) -> Section:
        """Measure teacher and student on the same held-out queries."""

    @abstractmethod
    def export(self) -> Section:
        """Write the student in the formats it is served in, under ``export/``."""

    def judge(self) -> Section:
        """The verdict, from what ``evaluate`` has left: taken again whenever the report is written,
        so that another gate costs nothing."""
        return {}

    def diagnose(self, show: int) -> Section:
        """What ``ragdistill diagnose`` says of a run that has trained, beside its held-out losses: figures, and
        as ``findings`` rows of ``what`` is wrong and what to ``change`` (:mod:`ragdistill.diagnosis`). Nothing
        is written.

        Args:
            show: of how many answers the teacher's words are ``shown``.
        """
        return {}

    def judge_system(self, system: str, compared: int) -> Section:
        """The verdict on the ``student`` or on an export, as one of so many ``compared`` of which one
        is chosen by it; ``retention_interval`` holds for all at once. For components that have
        ``--frontier``."""
        raise NotImplementedError

    def outputs(self, stage: Stage) -> tuple[str, ...]:
        """Paths, relative to the run folder, that a finished ``stage`` has left there; where one
        is missing the stage is run again."""
        return ()


@dataclass(frozen=True, slots=True)
class Method:
    """A distillation method as a plugin announces it: words to list, an address to load."""

    name: str
    """``component/method``, e.g. ``embedder/similarity``."""
    summary: str
    target: str
    """Where the Distiller is: ``"package.module:Class"``. Imported by :meth:`load` only."""
    paper: str = ""
    extra: str = ""
    """The requirement that brings what the target imports, e.g. ``ragdistill[ray]``."""

    def load(self) -> type[Distiller[Any]]:
        """Import the Distiller (this is where torch gets imported).

        Raises:
            UserError: a package that the method needs is missing; its extra is named.
            TypeError: the target is not a Distiller.
        """
        module, _, attribute = self.target.partition(":")
        try:
            cls = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            raise UserError(
                f"method {self.name!r} needs the Python package {error.name!r}",
                mend=f"pip install '{self.extra}'",
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, Distiller)):
            raise TypeError(f"{self.target} is not a ragdistill.Distiller")
        return cls
