"""Teacher and student in mteb's tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdistill.encoder import Encoder
from ragdistill.metrics import suites
from ragdistill.models.digest import digests
from ragdistill_embedder.setup import Setup

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def measure(
    folder: Path, tasks: "Sequence[AbsTask]", setup: Setup, learner: Encoder
) -> dict[str, Any]:
    """Both in each of ``tasks``, the student alone where the teacher does not run here; leaves
    mteb's results in the run ``folder``, where ``learner`` was loaded from ``student/``."""
    if not tasks:
        return {}
    systems, teacher = {}, setup.teacher
    if teacher.encoder is not None:
        # Those that training used: an alias may know better than the teacher's own folder.
        prompts: dict[str, str | None] = {
            "query": teacher.prompts.query,
            "document": teacher.prompts.passage,
        }
        teacher.encoder.model.prompts = prompts
        systems["teacher"] = suites.System(teacher.encoder.model, teacher.digest)
    systems["student"] = suites.System(learner.model, digests(folder / "student").weights)
    return suites.evaluate(systems, tasks, folder / suites.FOLDER)
