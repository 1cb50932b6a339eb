"""A trained student as it is served: a conversation and a query in, a query that stands by itself out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from ragdistill.data.collection import Query
from ragdistill.errors import UserError
from ragdistill.export.folder import GRAPH, RECORD
from ragdistill.export.running import Tokens
from ragdistill.export.runtime import OnnxTokenClassifier
from ragdistill_query_rewriter import settings
from ragdistill_query_rewriter.reading import Page, PageReader
from ragdistill_query_rewriter.selecting import Logits, Selector


class OnnxSelector(Selector):
    """A term selector's graph, int8 or fp32; PyTorch is not needed."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """
        Raises:
            UserError: ``folder`` is not a whole export of a rewriter.
        """
        self.settings = settings.read(folder)
        self._runtime = OnnxTokenClassifier(folder, threads=threads)
        self.reader = PageReader(self._runtime.tokenizer, self.settings.window)

    def logits(self, pages: Sequence[Page]) -> list[Logits]:
        """See ``Selector``."""
        tokens = [Tokens(page.ids, page.types, len(page.ids)) for page in pages]
        return [said[:, 1] - said[:, 0] for said in self._runtime.logits(tokens)]


class Rewriting(Protocol):
    """Whatever rewrites."""

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The queries as they are to be searched with."""


class Rewriter:
    """Rewrites the queries of conversations, or expands queries.

    ::

        rewriter = Rewriter.load("runs/rewriter/export/onnx-int8")
        rewriter.rewrite(["Who founded Zappa Records?", "Frank Zappa."], "When did he die?")
    """

    def __init__(self, student: Rewriting) -> None:
        self._student = student

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Self:
        """What ``ragdistill query-rewriter`` left in ``folder``: a run, its ``student/`` or an export.

        Raises:
            UserError: there is no rewriter.
        """
        path = Path(folder)
        if (path / "student" / settings.FILE).is_file():
            path = path / "student"
        if (path / GRAPH).is_file():
            return cls(OnnxSelector(path))
        if not (path / settings.FILE).is_file():
            raise UserError(
                "not a query rewriter",
                where=path,
                mend="name a run of ragdistill query-rewriter, or an export in it",
            )
        if settings.task_of(path) == "expand":
            from ragdistill_query_rewriter import sequence_runtime, sequences

            exported = (path / RECORD).is_file()
            found = sequence_runtime.load(path) if exported else sequences.load(path, device)
            return cls(found.appending())
        from ragdistill_query_rewriter.terms import TermStudent

        return cls(TermStudent.load(path, device))

    def rewrite(self, turns: Sequence[str], query: str) -> str:
        """``query``, asked after ``turns`` (questions and answers, the oldest first), with the words that
        it lacks; as it is where it lacks none. The words of expansions stand behind it."""
        return self._student.rewrite([Query("", query, context_turns=tuple(turns))])[0]
