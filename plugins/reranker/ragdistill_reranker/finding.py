"""From what a run is told of candidates to what finds them."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill.encoder import load_encoder
from ragdistill.errors import UserError
from ragdistill.first_stage import Candidates, FirstStage, Nearest, Words, from_rankings
from ragdistill.metrics import trec
from ragdistill.metrics.retrieval import Task
from ragdistill.models.entry import architecture
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.run import read_manifest
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.teachers import SCORING

BM25 = "bm25"


class Finder:
    """Finds candidates as ``--first-stage`` and ``--candidates-from`` say."""

    def __init__(self, config: RerankerConfig, base: ResolvedModel, folder: Path) -> None:
        """``base``: what the student is made of; ``folder``: of the run."""
        self._config, self._base, self._folder = config, base, folder

    @cached_property
    def embedder(self) -> ResolvedModel | None:
        """The model that finds them; None for BM25.

        Raises:
            UserError: it cannot be had, or two are named.
        """
        config = self._config
        if config.candidates_from is not None and is_run(config.candidates_from):
            return self._student_of(Path(config.candidates_from))
        if config.first_stage is not None:
            name = config.first_stage
            return None if name == BM25 else _embedder(resolve(name, kind="embedder"))
        return self._base if is_embedder(self._base.path) else None

    def _student_of(self, run: Path) -> ResolvedModel:
        """The embedder that a run has trained."""
        if self._config.first_stage is not None:
            raise UserError(
                f"the candidates are those of {run}'s student",
                where="--first-stage",
                mend="leave it or --candidates-from out",
            )
        if not is_embedder(run / "student"):
            raise UserError(
                "has no student that could find candidates",
                where=run,
                mend="name the finished run of an embedder, or of a bi-encoder",
            )
        if read_manifest(run).get("config", {}).get("asymmetric"):
            raise UserError(
                "has a student for queries alone, which embeds no documents",
                where=run,
                mend=f"name what it found, as {run / 'rankings/student.trec'}",
            )
        return resolve(str(run / "student"))

    @property
    def name(self) -> str:
        """What reports call it."""
        return BM25 if self.embedder is None else self.embedder.name

    @property
    def brings(self) -> Path | None:
        """The file that the judged queries' candidates are read from, if one is named."""
        source = self._config.candidates_from
        return None if source is None or is_run(source) else Path(source)

    @property
    def judged_by(self) -> str:
        """Where the candidates of the judged queries come from."""
        return self.name if self.brings is None else self.brings.name

    @property
    def scale(self) -> str:
        """What its scores are."""
        return "BM25" if self.embedder is None else "cosine"

    def over(self, documents: Sequence[str]) -> FirstStage:
        """It, over these ``documents``."""
        model = self.embedder
        if model is None:
            return Words(documents)
        encoder = load_encoder(model.path, self._config.device)
        kept = self._folder / "vectors"
        return Nearest(model.name, model.weights_digest, encoder, documents, kept)

    def brought(self, task: Task) -> Candidates | None:
        """Candidates of the queries of ``task`` that somebody else found, if such were brought.

        Raises:
            UserError: they are not of these queries and documents.
        """
        if self.brings is None:
            return None
        return from_rankings(
            trec.read(self.brings),
            [query.id for query in task.queries],
            [document.id for document in task.documents],
            self._config.candidates,
            self.brings,
        )

    def check(self, task: Task) -> None:
        """Refuse candidates that cannot be had, before anything is written; a first stage's own are
        found later."""
        _ = self.embedder, self.brought(task)


def _embedder(model: ResolvedModel) -> ResolvedModel:
    """``model``, unless it was made for something else: whatever has states could be pooled, and would
    find nothing."""
    made_for = architecture(model.path)
    saved = (model.path / "modules.json").exists()
    if not is_embedder(model.path) and (saved or made_for.endswith(SCORING)):
        raise UserError(
            f"is made as {made_for}, not as an embedder of texts",
            where=model.path,
            mend="name an embedder with --first-stage, or bm25",
        )
    return model


def is_embedder(folder: Path) -> bool:
    """Whether ``folder`` is a SentenceTransformer: other models of that library have modules, too, and
    would be read as one, which they were not trained to be."""
    if not (folder / "modules.json").exists():
        return False
    path = folder / "config_sentence_transformers.json"
    config: Any = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind in (None, "SentenceTransformer")


def check_source(source: str | None) -> None:
    """Refuse a ``--candidates-from`` that is neither a run nor a file, which needs no model to see.

    Raises:
        UserError: so it is.
    """
    if source is None or is_run(source):
        return
    folder = Path(source).is_dir()
    if Path(source).exists() and not folder:
        return
    raise UserError(
        "holds no run" if folder else "cannot be read: No such file or directory",
        where=source,
        mend="name the folder of an embedder's run with --candidates-from, or a TREC run file",
    )


def is_run(path: str) -> bool:
    """Whether ``path`` is the folder of a run."""
    return (Path(path) / "run.json").exists()
