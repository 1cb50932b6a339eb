"""A plugin that distils every part of a stack in no time, and says what it was told."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from kernel_helpers import forget
from rag_helpers import FakePart, Loudness, open_fake, write_stack
from ragdistill import (
    Distiller,
    Method,
    Plan,
    Position,
    RunConfig,
    Section,
    Serving,
    Stage,
    UserError,
    hookimpl,
    option,
    plugins,
)
from ragdistill.cli import main
from ragdistill.cli.component import component
from ragdistill.files import sha256_json
from ragdistill.rag.serving import ROLES, Reference


@dataclasses.dataclass(frozen=True, kw_only=True)
class MineConfig(RunConfig):
    """What the four fake components can be told."""

    teacher: str = option("Who teaches.", affects="collect")
    size: int = option("Of the student.", affects="train", default=1)
    names: tuple[str, ...] = option("Of something.", affects="train", default=())
    upon: str | None = option("What it builds on.", affects="collect", default=None)


class Mine(Distiller[MineConfig]):
    """Does nothing, and notes that it was called."""

    calls: ClassVar[list[str]] = []
    trouble: ClassVar[dict[str, BaseException]] = {}
    """What happens at ``ROLE STAGE``."""

    def inputs(self) -> Mapping[str, str]:
        if self.config.size > 99:
            raise UserError("is more than there is", where="--size", mend="give 99 at most")
        return {"teacher": sha256_json(self.config.teacher), "data": sha256_json(self.config.data)}

    def plan(self) -> Plan:
        usd = 0.5 if self.folder.name != "rewriter" else None
        steps = (f"ask {self.config.teacher}", f"build on {self.config.upon}")
        return Plan(steps=steps, items=2, tokens=10, store_bytes=100, seconds=60.0, usd=usd)

    def _work(self, stage: Stage) -> dict[str, Any]:
        call = f"{self.folder.name} {stage}"
        self.calls.append(call)
        if call in self.trouble:
            raise self.trouble[call]
        return {"items": 2}

    def collect(self) -> Section:
        return self._work("collect")

    def train(self) -> Section:
        (self.folder / "student").mkdir(exist_ok=True)
        (self.folder / "student" / "size.txt").write_text(str(self.config.size))
        return self._work("train")

    def evaluate(self) -> Section:
        return self._work("evaluate") | {"quality": {"EM": {"teacher": 1.0, "student": 1.0}}}

    def export(self) -> Section:
        (self.folder / "export" / "quick").mkdir(parents=True, exist_ok=True)
        speed = {"quick": {"p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "per_second": 9.0}}
        return self._work("export") | {"exports": {"quick": {"passed": True}}, "speed": speed}


def distils(position: Position) -> Mapping[str, Any]:
    """Whatever the kernel tells of a position, as one text."""
    told = [*(f"{role}={run.name}" for role, run in position.runs.items())]
    told += [f"{role}?" for role in sorted(position.awaited)]
    told += [] if position.contexts is None else [position.contexts.name]
    return {"upon": " ".join(told) or None, **({} if "size" in position.given else {"size": 7})}


def open_mine(reference: Reference, options: Loudness, device: str) -> FakePart:
    """A student of a run, which does as well as its teacher; or what ``fake`` opens."""
    if reference.manifest is None:
        return open_fake(reference, options, device)
    role = str(reference.manifest["component"]).removeprefix("mine-")
    return open_fake(Reference(f"{role}/other"), options, device)


class MinePlugin:
    """The plugin, without a package around it."""

    @hookimpl
    def ragdistill_methods(self) -> list[Method]:
        return [Method(f"mine-{role}/plain", "nothing", "cascade_helpers:Mine") for role in ROLES]

    @hookimpl
    def ragdistill_serving(self) -> list[Serving]:
        opens, says = "cascade_helpers:open_mine", "cascade_helpers:distils"
        return [
            Serving(role, f"mine-{role}", opens, Loudness, scheme="mine", distils=says)
            for role in ROLES
        ]


@contextmanager
def mine() -> Iterator[None]:
    """The plugin is there, and nothing was called yet."""
    forget()
    Mine.calls, Mine.trouble = [], {}
    FakePart.asked, FakePart.trouble = {}, None
    plugins.plugin_manager().register(MinePlugin(), "mine")
    for role in ROLES:
        main.add_command(component(f"mine-{role}", MineConfig, method="plain", help="Distil it."))
    try:
        yield
    finally:
        for role in ROLES:
            main.commands.pop(f"mine-{role}")
        forget()


def mine_stack(file: Path, *, without: tuple[str, ...] = (), **options: Any) -> Path:
    """Four teachers that the plugin distils; ``options`` are of all of them."""
    settings: dict[str, dict[str, Any]] = {
        "rewriter": {},
        "embedder": {"k": 8},
        "reranker": {"k_in": 6, "k_out": 4},
        "generator": {"contexts": 2},
    }
    parts = {
        role: {"model": f"mine:{role}/good", **own, **options}
        for role, own in settings.items()
        if role not in without
    }
    return write_stack(file, **parts)
