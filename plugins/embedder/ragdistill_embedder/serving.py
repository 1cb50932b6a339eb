"""Embedders in a stack: a student or a model through PyTorch, an export as it is served."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragdistill.data.training_texts import Role
from ragdistill.encoder import Encoder, Prompts, load_encoder
from ragdistill.errors import UserError
from ragdistill.export import faiss_index
from ragdistill.export.folder import EmbedderRecord, read_record
from ragdistill.export.runtime import OnnxEmbedder
from ragdistill.export.static import StaticEmbedder, load_embedder
from ragdistill.files import folder_bytes, sha256_json
from ragdistill.models.digest import folder_digest
from ragdistill.models.entry import entry
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.rag.serving import Advance, Reference
from ragdistill_embedder.serving_options import EmbedderOptions
from ragdistill_embedder.teacher import LocalTeacher

_WARM = "how are you?"
Vectors = NDArray[np.float32]


def open_embedder(
    reference: Reference, options: EmbedderOptions, device: str
) -> "ServedModel | ServedExport":
    """The embedder that ``reference`` names.

    Raises:
        UserError: there is no such model or export.
    """
    if reference.exported and reference.path is not None:
        return ServedExport(reference, options)
    named = str(reference.path) if reference.path is not None else reference.text
    return ServedModel(reference, resolve(named, kind="embedder"), options, device)


class _Served:
    """What both have in common."""

    def __init__(self, reference: Reference, options: EmbedderOptions, own: str) -> None:
        """``own``: digest of the weights whose vector space it is of."""
        self._reference, self._options, self._own = reference, options, own

    @property
    def name(self) -> str:
        """See ``Part``."""
        return self._reference.name

    @property
    def asymmetric(self) -> bool:
        """Whether it embeds queries alone."""
        return bool(self._reference.config.get("asymmetric"))

    @property
    def spaces(self) -> list[str]:
        """See ``Embedder``: a student for queries alone is of its teacher's space."""
        inputs = (self._reference.manifest or {}).get("inputs", {})
        return [self._own, *([inputs["teacher"]] if self.asymmetric else [])]

    @property
    def index(self) -> Path | None:
        """See ``Embedder``.

        Raises:
            UserError: it needs one, and its run has none.
        """
        if not self.asymmetric or self._reference.run is None:
            return None
        named = self._reference.config.get("teacher_index")
        path = Path(named) if named else self._reference.run / "export" / "faiss"
        if not (path / faiss_index.INDEX).is_file():
            raise UserError(
                f"{self.name} embeds queries alone, and its run has no index to search",
                where=path,
                mend="name the teacher's index with index: FOLDER",
            )
        return path

    def _asked_prompts(self, known: Prompts) -> Prompts:
        query, passage = self._options.query_prompt, self._options.passage_prompt
        return Prompts(
            known.query if query is None else query, known.passage if passage is None else passage
        )


class ServedModel(_Served):
    """A sentence-transformers model."""

    def __init__(
        self, reference: Reference, model: ResolvedModel, options: EmbedderOptions, device: str
    ) -> None:
        """Nothing is loaded yet."""
        super().__init__(reference, options, model.weights_digest)
        self._model, self._device = model, device

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``."""
        model, options = self._model, self._options
        digests = [model.weights_digest, model.tokenizer_digest, model.pooling_digest]
        alias = model.alias and [model.alias.query_prompt, model.alias.passage_prompt]
        said = [options.query_prompt, options.passage_prompt]
        return sha256_json(["embedder", *digests, _folder_prompts(model.path), alias, said])

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        return entry(self._model)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self._model.path, self._device)

    @cached_property
    def _prompts(self) -> Prompts:
        # A teacher's prompts, of which its alias may know better than its folder.
        teacher = LocalTeacher(self._model, self._device)
        vars(teacher)["encoder"] = self._encoder
        return self._asked_prompts(teacher.prompts)

    @property
    def dimensions(self) -> int:
        """See ``Embedder``."""
        return self._encoder.dimensions

    def load(self) -> None:
        """See ``Part``."""
        self.encode([_WARM], "query")

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_encoder", None)

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """See ``Embedder``."""
        prompts = self._prompts
        prompt = prompts.query if role == "query" else prompts.passage
        return self._encoder.encode(texts, prompt, advance=advance)


class ServedExport(_Served):
    """An ONNX graph or a table of token vectors."""

    def __init__(self, reference: Reference, options: EmbedderOptions) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: it is no whole export of an embedder.
        """
        self._folder = reference.path or Path(reference.text)
        self._record: EmbedderRecord = read_record(self._folder)
        super().__init__(reference, options, self._record.source_digest)

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``."""
        said = [self._options.query_prompt, self._options.passage_prompt]
        return sha256_json(["embedder", folder_digest(self._folder), said])

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        size = round(folder_bytes(self._folder) / 1e6, 3)
        return {"name": self.name, "digest": folder_digest(self._folder), "size_mb": size}

    @property
    def dimensions(self) -> int:
        """See ``Embedder``."""
        return self._record.dimensions

    @cached_property
    def _runtime(self) -> OnnxEmbedder | StaticEmbedder:
        return load_embedder(self._folder)

    def load(self) -> None:
        """See ``Part``."""
        self.encode([_WARM], "query")

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_runtime", None)

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """See ``Embedder``."""
        known = self._record.prompts
        prompts = self._asked_prompts(Prompts(known.get("query", ""), known.get("document", "")))
        prompt = prompts.query if role == "query" else prompts.passage
        found = self._runtime.encode(texts, prompt=prompt, normalize=True)
        if advance is not None:
            advance(len(texts), 0)
        return found


def _folder_prompts(folder: Path) -> str:
    """The file that prompts stand in, which no digest of a model covers."""
    path = folder / "config_sentence_transformers.json"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
