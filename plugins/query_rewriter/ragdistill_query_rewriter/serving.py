"""Query rewriters in a stack: students and their exports, and language models that are asked for it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill import causal
from ragdistill.data.collection import Query
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError
from ragdistill.files import folder_bytes, sha256_json
from ragdistill.local_writer import LocalWriter
from ragdistill.models.digest import folder_digest
from ragdistill.models.entry import entry
from ragdistill.models.resolve import resolve
from ragdistill.rag.serving import Reference
from ragdistill.writing import Written
from ragdistill_query_rewriter import expansions, prompts, settings
from ragdistill_query_rewriter.rewriter import Rewriter
from ragdistill_query_rewriter.serving_options import RewriterOptions

_WARM = (("Who built the bridge?", "The king."), "When did he die?")


def open_rewriter(
    reference: Reference, options: RewriterOptions, device: str
) -> "ServedStudent | ServedWriter":
    """The rewriter that ``reference`` names.

    Raises:
        UserError: there is no such model, or it is told what only a language model heeds.
    """
    path = reference.path
    if path is None or not (path / settings.FILE).is_file():
        return ServedWriter(reference, options, device)
    if options != RewriterOptions():
        raise UserError("a student rewrites as it has learnt to", mend="leave its options out")
    return ServedStudent(reference, path, device)


class ServedStudent:
    """What ``ragdistill query-rewriter`` made, or an export of it."""

    def __init__(self, reference: Reference, folder: Path, device: str) -> None:
        """Nothing is loaded yet."""
        self.name, self._folder, self._device = reference.name, folder, device
        expands = settings.task_of(folder) == "expand"
        _ = settings.read_sequence(folder) if expands else settings.read(folder)

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``."""
        return sha256_json(["rewriter", folder_digest(self._folder)])

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        size = round(folder_bytes(self._folder) / 1e6, 3)
        return {"name": self.name, "digest": folder_digest(self._folder), "size_mb": size}

    @cached_property
    def _rewriter(self) -> Rewriter:
        return Rewriter.load(self._folder, device=self._device)

    def load(self) -> None:
        """See ``Part``."""
        self.rewrite(*_WARM)

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_rewriter", None)

    def rewrite(self, turns: Sequence[str], query: str) -> str:
        """See ``Rewriter``."""
        return self._rewriter.rewrite(turns, query)


class ServedWriter:
    """A language model, asked as it is when it teaches."""

    def __init__(self, reference: Reference, options: RewriterOptions, device: str) -> None:
        """Nothing is loaded yet.

        Raises:
            UserError: there is no such model, or it writes no text.
        """
        named = str(reference.path) if reference.path is not None else reference.text
        self._model = resolve(named, kind="causal-lm")
        causal.check(self._model, "rewriter")
        self.name, self._options, self._device = reference.name, options, pick_device(device)

    @cached_property
    def _writer(self) -> LocalWriter:
        options = self._options
        return LocalWriter(
            self._model,
            self._device,
            options.precision or causal.usual_precision(self._device),
            template=(expansions if self._expands else prompts).template(),
            new_tokens=options.expansion_tokens if self._expands else options.rewrite_tokens,
        )

    @property
    def _expands(self) -> bool:
        return self._options.task == "expand"

    @cached_property
    def fingerprint(self) -> str:
        """See ``Part``."""
        told = self._writer.fingerprint().id
        return sha256_json([told, self._options.original_weight]) if self._expands else told

    def describe(self) -> dict[str, Any]:
        """See ``Part``."""
        return entry(self._model)

    def load(self) -> None:
        """See ``Part``."""
        self.rewrite(*_WARM)

    def close(self) -> None:
        """See ``Part``."""
        vars(self).pop("_writer", None)

    def rewrite(self, turns: Sequence[str], query: str) -> str:
        """See ``Rewriter``; a query with no turn before it stands by itself, and one whose rewrite cannot
        be used stays as it is."""
        if self._expands:
            return self._expanded(query)
        if not turns:
            return query
        asked = Query("", query, context_turns=tuple(turns))
        ((_, [kept], _),) = self._writer.write([prompts.messages(asked)])
        return prompts.rewrite_of(asked, Written.of(kept)) or query

    def _expanded(self, query: str) -> str:
        """``query`` with the words of its expansions behind it; the corpus is not known here, so no variant is
        held to its words."""
        asked = Query("", query)
        ((_, [kept], _),) = self._writer.write([expansions.messages(asked)])
        told = expansions.expansion_of(asked, Written.of(kept), lambda word: True, 0.0)
        return expansions.appended(query, told.variants, self._options.original_weight)
