"""Exports of students that write, as ctranslate2 runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ragdistill.errors import loading
from ragdistill.export.causal.ctranslate import CTranslateCausal
from ragdistill.export.seq2seq import CTranslateSeq2Seq
from ragdistill_query_rewriter import settings
from ragdistill_query_rewriter.expander import Expander
from ragdistill_query_rewriter.settings import SequenceSettings


class ExportedExpander(Expander):
    """An encoder-decoder or a language model that ctranslate2 runs."""

    def __init__(
        self, runner: CTranslateSeq2Seq | CTranslateCausal, tokenizer: Any, told: SequenceSettings
    ) -> None:
        super().__init__(tokenizer, told)
        self._runner = runner

    @property
    def runner(self) -> CTranslateSeq2Seq | CTranslateCausal:
        """See :class:`Expander`."""
        return self._runner

    @property
    def ends(self) -> Sequence[int]:
        """See :class:`Expander`."""
        return self._runner.record.end_ids

    def replies(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """See :class:`Expander`."""
        return self._runner.generate(sources, self.settings.new_tokens)


def load(folder: Path) -> ExportedExpander:
    """What ``sequence_exporting`` left.

    Raises:
        UserError: ctranslate2 is missing, or ``folder`` is not a whole export.
    """
    told = settings.read_sequence(folder)
    runs = CTranslateCausal if told.student == "causal" else CTranslateSeq2Seq
    runner = runs(folder)
    with loading(folder, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    return ExportedExpander(runner, tokenizer, told)
