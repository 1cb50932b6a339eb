"""Evaluation with mteb (https://github.com/embeddings-benchmark/mteb): on tasks of its registry, and
on collections of one's own. Its results stay in its own format, so that other tools read them.

mteb is an extra, and is imported by the functions that need it.
"""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers import SentenceTransformer

from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import choose
from ragdistill.errors import UserError, nearest
from ragdistill.progress import track

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.results import TaskResult

OPTION = "--mteb"
FOLDER = "mteb"
"""Where in the run folder mteb leaves ``results/MODEL/DIGEST/TASK.json``."""
_BATCH = 32
# mteb wants a language of every task, and uses it for nothing but tables of its own.
_LANGUAGE = "eng-Latn"


@dataclass(frozen=True, slots=True)
class System:
    """A model that is measured, with the digest of its weights."""

    model: SentenceTransformer
    digest: str


def find(names: Sequence[str]) -> "list[AbsTask]":
    """The tasks that ``names`` say: a folder or file of :func:`ragdistill.data.loading.load` (it is
    searched as ``evaluate`` does, on its evaluation split), else a task of mteb's registry.

    Raises:
        UserError: mteb is not installed; no such task (the nearest are named), one that is not of
            text, or two of one name; a collection without judgments.
    """
    if not names:
        return []
    try:
        import mteb  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"needs the Python package {error.name!r}",
            where=OPTION,
            mend="pip install 'ragdistill[mteb]'",
        ) from error
    tasks = [_local(name) if _means_data(name) else _registered(name) for name in names]
    known: set[str] = set()
    for task in tasks:
        name = task.metadata.name
        if name in known:
            raise UserError(f"two tasks are named {name!r}", where=OPTION, mend="leave one out")
        known.add(name)
    return tasks


def judged_queries(names: Sequence[str]) -> list[str]:
    """The queries of those ``names`` that are collections of one's own: nothing may learn from
    them."""
    return [query.text for name in names if _means_data(name) for query in load(name).queries]


def _means_data(name: str) -> bool:
    return os.sep in name or name.startswith((".", "~")) or Path(name).exists()


def _registered(name: str) -> "AbsTask":
    from mteb.get_tasks import TASK_LIST, get_task

    known = [task.metadata.name for task in TASK_LIST]
    by_folded = {one.casefold(): one for one in known}
    exact = name if name in known else by_folded.get(name.casefold())
    if exact is None:
        raise UserError(
            f"mteb has no task {name!r}{nearest(name, known)}",
            where=OPTION,
            mend="name one of its tasks, or a folder in BEIR's layout as ./folder",
        )
    task = get_task(exact)
    if others := sorted(set(task.metadata.modalities) - {"text"}):
        raise UserError(
            f"task {exact!r} is about {others[0]}, not text alone",
            where=OPTION,
            mend="choose a task of text",
        )
    return task


def _local(reference: str) -> "AbsTask":
    """A collection as a retrieval task; the digest of its content is the revision."""
    return task_of(load(reference))


def task_of(collection: Collection) -> "AbsTask":
    """``collection`` as one of mteb's retrieval tasks, with its evaluation split and the measure
    that the verdict is about.

    Raises:
        UserError: it has no judgments to evaluate with, or several splits of them.
    """
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    split, qrels = choose(collection)
    queries = collection.judged(split)

    class LocalRetrieval(AbsTaskRetrieval):  # type: ignore[misc,unused-ignore]
        metadata = TaskMetadata(
            name=collection.name,
            description=f"{collection.name}: {len(collection.documents)} documents",
            dataset={"path": collection.name, "revision": collection.digest},
            type="Retrieval",
            category="t2t",
            eval_splits=[split],
            eval_langs=[_LANGUAGE],
            main_score="ndcg_at_10",
        )

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            """Nothing is fetched: the collection is here."""
            rows = [
                {"id": item.id, "title": item.title, "text": item.text}
                for item in collection.documents
            ]
            asked = [{"id": query.id, "text": query.text} for query in queries]
            judged = {query.id: dict(qrels[query.id]) for query in queries}
            self.dataset = {
                "default": {
                    split: {
                        "corpus": Dataset.from_list(rows),
                        "queries": Dataset.from_list(asked),
                        "relevant_docs": judged,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return LocalRetrieval()


def evaluate(
    systems: Mapping[str, System], tasks: "Sequence[AbsTask]", folder: Path
) -> dict[str, Any]:
    """What ``teacher`` and ``student`` reach in each task: ``{task: {"main_score", "splits",
    "teacher", "student", "retention", "revision", "mteb"}}``.

    ``systems`` may lack a teacher, of whom nothing is known then. What mteb has written to ``folder`` of the same weights and the same data is not measured again.
    Retention is unknown where the teacher's score is not above 0.

    Raises:
        UserError: the data of a task cannot be had.
    """
    found: dict[str, Any] = {}
    with track("mteb", len(tasks) * len(systems)) as advance:
        for task in tasks:
            _load(task)
            results: dict[str, TaskResult] = {}
            for name, system in systems.items():
                results[name] = _measure(name, system, task, folder)
                advance(1, 0)
            task.unload_data()
            found[task.metadata.name] = _entry(task, results)
    return found


def _load(task: "AbsTask") -> None:
    for part in getattr(task.metadata, "tasks", None) or [task]:
        try:
            part.load_data()
        except UserError:
            raise
        except Exception as error:  # whatever the Hub, the network and a stranger's data raise
            raise UserError(
                f"the data of task {part.metadata.name!r} cannot be had: {error}",
                where=OPTION,
                mend="get it while the Hub can be reached, or leave the task out",
            ) from error


def _measure(name: str, system: System, task: "AbsTask", folder: Path) -> "TaskResult":
    import mteb
    from mteb.cache import ResultCache
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # of mteb's own calls
            warnings.simplefilter("ignore", category)
        model = SentenceTransformerEncoderWrapper(system.model)
        named = {"name": f"ragdistill/{name}", "revision": system.digest}
        model.mteb_model_meta = model.mteb_model_meta.model_copy(update=named)
        said = mteb.evaluate(
            model,
            task,
            co2_tracker=False,
            encode_kwargs={"batch_size": _BATCH, "show_progress_bar": False},
            cache=ResultCache(folder),
            show_progress_bar=False,
        )
    return said.task_results[0]


def _entry(task: "AbsTask", results: "Mapping[str, TaskResult]") -> dict[str, Any]:
    scores = {name: _known(result.get_score()) for name, result in results.items()}
    teacher, student = scores.get("teacher"), scores["student"]
    kept = student / teacher if teacher and teacher > 0 and student is not None else None
    return {
        "main_score": task.metadata.main_score,
        "splits": list(task.eval_splits),
        "teacher": teacher,
        "student": student,
        "retention": kept,
        "revision": task.metadata.revision,
        "mteb": results["student"].mteb_version,
    }


def _known(score: float | None) -> float | None:
    return None if score is None or not math.isfinite(score) else float(score)
