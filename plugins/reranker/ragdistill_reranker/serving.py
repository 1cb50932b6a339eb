"""Rerankers in a stack: students and models through PyTorch, exports as they are served."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ragdistill.encoder import pick_device
from ragdistill.errors import UserError
from ragdistill.export.folder import (
    CrossEncoderRecord,
    EmbedderRecord,
    MultiVectorRecord,
    read_any_record,
)
from ragdistill.files import folder_bytes, sha256_json
from ragdistill.first_stage import Scores
from ragdistill.models.digest import folder_digest
from ragdistill.models.entry import entry
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.rag.serving import Reference
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.exporting import OnnxPairs, OnnxTokens, OnnxVectors
from ragdistill_reranker.scoring import Scorer
from ragdistill_reranker.serving_options import RerankerOptions
from ragdistill_reranker.students import KINDS
from ragdistill_reranker.systems import PairSystem, System, TokenSystem, VectorSystem, compared
from ragdistill_reranker.teachers import make_scorer

_WARM = ("who built the bridge?", "the king built the bridge.")
_EXPORTS: Mapping[type[Any], Callable[[Path], System]] = {
    MultiVectorRecord: OnnxTokens,
    EmbedderRecord: OnnxVectors,
    CrossEncoderRecord: OnnxPairs,
}


def open_reranker(reference: Reference, options: RerankerOptions, device: str) -> "Served":
    """The reranker that ``reference`` names.

    Raises:
        UserError: there is no such model, or nothing is to be told of how a student is read.
    """
    if reference.manifest is None and not reference.exported:
        return ServedTeacher(reference, options, device)
    if options != RerankerOptions():
        told = [key for key, value in asdict(options).items() if value is not None]
        raise UserError(f"{told[0]} is of models that are no students", mend=f"leave {told[0]} out")
    return ServedStudent(reference, device)


class Served(ABC):
    """What both have in common."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._told: dict[str, Scores] = {}

    @property
    def name(self) -> str:
        """See ``Part``."""
        return self._reference.name

    def load(self) -> None:
        """See ``Part``."""
        query, document = _WARM
        self.prepare([document])
        self.scores(query, [document])

    @abstractmethod
    def prepare(self, documents: Sequence[str]) -> None:
        """See ``Reranker``."""

    @abstractmethod
    def scores(self, query: str, documents: Sequence[str]) -> Scores:
        """See ``Reranker``."""


class ServedStudent(Served):
    """A student, or one of its exports."""

    def __init__(self, reference: Reference, device: str) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: it is no whole student or export of a reranker.
        """
        super().__init__(reference)
        self._path = reference.path or Path(reference.text)
        if reference.exported:
            record = read_any_record(self._path, "reranker")
            if type(record) not in _EXPORTS:
                raise UserError(f"is an exported {record.kind}, not a reranker", where=self._path)
            self._make: Callable[[], System] = partial(_EXPORTS[type(record)], self._path)
        else:
            kind = KINDS[reference.config.get("student", "colbert")]
            self._make = partial(kind.load, self._path, device)

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``: of every file, for prompts and lengths stand in some."""
        return sha256_json(["reranker", folder_digest(self._path)])

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        size = round(folder_bytes(self._path) / 1e6, 3)
        return {"name": self.name, "digest": folder_digest(self._path), "size_mb": size}

    @cached_property
    def _system(self) -> System:
        return self._make()

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_system", None)
        self._told = {}

    def prepare(self, documents: Sequence[str]) -> None:
        """See ``Reranker``: vectors of texts, or of their tokens."""
        system, texts = self._system, list(dict.fromkeys(documents))
        if isinstance(system, (TokenSystem, VectorSystem)):
            self._told = dict(zip(texts, system.encode(texts, "document"), strict=True))

    def scores(self, query: str, documents: Sequence[str]) -> Scores:
        """See ``Reranker``."""
        system = self._system
        if isinstance(system, PairSystem):
            return system.score_pairs([(query, text) for text in documents])
        if not isinstance(system, (TokenSystem, VectorSystem)):
            raise TypeError(f"{type(system).__name__} scores neither texts nor pairs")
        (asked,) = system.encode([query], "query")
        told = [self._told[text] for text in documents]
        if isinstance(system, TokenSystem):
            return compared(asked, told)
        found: Scores = np.stack(told) @ asked
        return found


class ServedTeacher(Served):
    """A model that teaches: a cross-encoder, or a language model."""

    def __init__(self, reference: Reference, options: RerankerOptions, device: str) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: there is no such model, or it is asked to be read as none of its kind is.
        """
        super().__init__(reference)
        named = str(reference.path) if reference.path is not None else reference.text
        chosen: Any = pick_device(device)
        self._config = RerankerConfig(teacher=named, **asdict(options), device=chosen)
        self._scorer: Scorer = make_scorer(self._config, named)
        self._model: ResolvedModel = resolve(named, kind=("cross-encoder", "causal-lm"))

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``."""
        config, model = self._config, self._model
        said = [type(self._scorer).__name__, config.reading, config.precision, config.max_length]
        read = [getattr(self._scorer, name, None) for name in ("reading", "precision")]
        return sha256_json(["reranker", model.weights_digest, model.tokenizer_digest, said, read])

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        return entry(self._model)

    def prepare(self, documents: Sequence[str]) -> None:
        """See ``Reranker``: nothing can be."""

    def close(self) -> None:
        """See ``Part``."""
        self._scorer = make_scorer(self._config, self._config.teacher)

    def scores(self, query: str, documents: Sequence[str]) -> Scores:
        """See ``Reranker``."""
        found: Scores = np.empty(len(documents), np.float32)
        for places, scores, _ in self._scorer.answers([(query, text) for text in documents]):
            found[places] = scores
        return found
