"""Language models as rerankers: how likely is the query behind the document, or a yes.

Query likelihood is that of Sachan et al. (UPR, arXiv:2204.07496): the mean log-probability of the query's
tokens after the passage and a request for a question. Yes or no is the log-odds of the two words, as
Qwen3-Reranker is read. In both the document comes first, so that it is read once for all its queries.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from ragdistill.causal import Precision, as_request, load, load_tokenizer, text_ids, token_ids
from ragdistill.errors import UserError
from ragdistill.models.resolve import ResolvedModel
from ragdistill.packing import Group, Row, pack
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_reranker.local import LocalScorer
from ragdistill_reranker.scoring import Forecast, Pair, Scores, forecast

Reading = Literal["likelihood", "yes-no"]

_DOCUMENT, _QUERY = "\x00document\x00", "\x00query\x00"
_ASKED = {
    "likelihood": f"Passage: {_DOCUMENT}\n\nPlease write a question based on this passage.",
    "yes-no": f"Document: {_DOCUMENT}\n\nQuery: {_QUERY}\n\nDoes the document answer the query? Answer"
    " yes or no.",
}
ROW_TOKENS = {"cpu": 1024, "cuda": 8192, "mps": 2048}
"""Tokens of a forward pass, by device."""
_ROUNDING: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.05}
"""By how much scores of one pair may differ by how it was read, as a share of the largest."""
DOCUMENT_TOKENS, QUERY_TOKENS = 384, 64
"""Tokens after which a document and a query are cut."""


@dataclass(frozen=True, slots=True)
class _Template:
    """What stands before the document, between it and the query, and behind the query."""

    head: list[int]
    middle: list[int]
    tail: list[int]


class LanguageModel(LocalScorer):
    """A causal language model that scores pairs."""

    def __init__(
        self,
        model: ResolvedModel,
        device: str,
        reading: Reading = "likelihood",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(model, device)
        self.reading, self.precision = reading, precision

    @property
    def scale(self) -> str:
        """What its scores are."""
        return "log-likelihood" if self.reading == "likelihood" else "log-odds"

    @cached_property
    def network(self) -> Any:
        """It itself, loaded."""
        return load(self.model, self._device, self.precision)

    @cached_property
    def shares(self) -> bool:
        """Whether its rows may hold several texts: whether it minds a mask that says what sees what, which
        a network that hands a state from token to token does not."""
        texts = ("Rain fell on the hills all night.", "The engine has four cylinders.")
        pairs = [(query, text) for text in texts for query in ("cars", "the weather in the hills")]
        groups = self.groups(pairs)
        try:
            (together,) = pack(groups, 1 << 20)
            shared = self._read(together)
            alone = np.concatenate([self._read_alone(row) for row in _singly(groups)])
        except (TypeError, ValueError, RuntimeError):  # it takes no such mask at all
            return False
        apart = float(np.abs(shared - alone).max())
        return apart <= _ROUNDING[self.precision] * max(1.0, float(np.abs(alone).max()))

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer, without which nothing is known of what it is asked."""
        return load_tokenizer(self.model)

    @cached_property
    def _template(self) -> _Template:
        """The request as token ids."""
        head, rest = as_request(self.tokenizer, _ASKED[self.reading]).split(_DOCUMENT)
        middle, _, tail = rest.partition(_QUERY)
        return _Template(*(token_ids(self.tokenizer, part) for part in (head, middle, tail)))

    def _ids(self, text: str) -> list[int]:
        return text_ids(self.tokenizer, text)

    @cached_property
    def _words(self) -> tuple[int, int]:
        """The tokens of yes and no.

        Raises:
            UserError: they begin alike.
        """
        yes, no = (self._ids(word)[0] for word in ("yes", "no"))
        if yes == no:
            raise UserError(
                "has no tokens that tell yes from no",
                where=self.model.path,
                mend="score by likelihood",
            )
        return yes, no

    def fingerprint(self) -> Fingerprint:
        """What identifies its scores: its content, and what it is asked."""
        return Fingerprint(
            kind="score",
            weights=self.digest,
            tokenizer=self.model.tokenizer_digest,
            prompt=_ASKED[self.reading],
            dtype="float32",
            parameters={
                "reading": self.reading,
                "chat": bool(self.tokenizer.chat_template),
                "document_tokens": DOCUMENT_TOKENS,
                "query_tokens": QUERY_TOKENS,
                "precision": self.precision,
            },
        )

    def groups(self, pairs: Sequence[Pair]) -> list[Group]:
        """``pairs`` by document, as token ids."""
        template, asked = self._template, {query: self._ids(query) for query, _ in pairs}
        by_document: dict[str, list[tuple[int, list[int]]]] = {}
        for place, (query, document) in enumerate(pairs):
            ids = [*template.middle, *asked[query][:QUERY_TOKENS], *template.tail]
            if self.reading == "likelihood":
                ids = asked[query][:QUERY_TOKENS]
            by_document.setdefault(document, []).append((place, ids))
        behind = template.middle if self.reading == "likelihood" else []
        return [
            Group([*template.head, *self._ids(document)[:DOCUMENT_TOKENS], *behind], asked_for)
            for document, asked_for in by_document.items()
        ]

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """Places in ``pairs``, their scores, and the tokens that were read for them, row by row.

        Raises:
            UserError: a query has no token.
        """
        for row in self._rows(pairs):
            yield [span.place for span in row.spans], self._said(row), len(row.tokens)

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> Forecast:
        """See ``Scorer``."""
        rows = (row for window in windows for row in self._rows(window))
        return forecast(rows, lambda row: len(row.tokens), self._said)

    def _said(self, row: Row) -> Scores:
        """The scores of a row's spans, ``[s]``."""
        return self._read(row) if self.shares else self._read_alone(row)

    def _rows(self, pairs: Sequence[Pair]) -> Iterator[Row]:
        groups = self.groups(pairs)
        for group in groups:
            for place, tokens in group.continuations:
                if not tokens:
                    raise UserError(f"the query {pairs[place][0]!r} has no token to be scored")
        return pack(groups, ROW_TOKENS[self._device]) if self.shares else _singly(groups)

    @torch.inference_mode()
    def _read(self, row: Row) -> Scores:
        """The scores of a row's spans, ``[s]``."""
        network, device = self.network, self._device
        kept = sorted({place for places in self._places(row) for place in places})
        said = network(
            input_ids=torch.tensor([row.tokens], device=device),
            position_ids=torch.tensor([row.positions], device=device),
            attention_mask=row.mask(network.dtype).to(device),
            use_cache=False,
            logits_to_keep=torch.tensor(kept, device=device),
        )
        return self._scores(row, said.logits[0].float(), kept)

    @torch.inference_mode()
    def _read_alone(self, row: Row) -> Scores:
        """The same of a row that holds one pair, as any model reads it."""
        logits = self.network(torch.tensor([row.tokens], device=self._device)).logits[0]
        return self._scores(row, logits.float(), range(len(row.tokens)))

    def _places(self, row: Row) -> list[Sequence[int]]:
        """The positions whose logits score each span."""
        if self.reading == "yes-no":
            return [[span.end - 1] for span in row.spans]
        return [span.before for span in row.spans]

    def _scores(self, row: Row, logits: torch.Tensor, kept: Sequence[int]) -> Scores:
        """Scores of spans, ``[s]``, of the logits ``[k, v]`` at the positions ``kept``."""
        wanted, device = self._places(row), self._device
        at = {place: number for number, place in enumerate(kept)}
        rows = torch.tensor([at[place] for places in wanted for place in places], device=device)
        if self.reading == "yes-no":
            yes, no = self._words
            return np.asarray((logits[rows, yes] - logits[rows, no]).cpu(), dtype=np.float32)
        said = [token for span in row.spans for token in row.tokens[span.start : span.end]]
        losses = functional.cross_entropy(
            logits[rows], torch.tensor(said, device=device), reduction="none"
        )
        ends = np.cumsum([len(places) for places in wanted])[:-1]
        parts = np.split(losses.cpu().numpy(), ends)
        return np.array([-part.mean() for part in parts], dtype=np.float32)


def _singly(groups: Sequence[Group]) -> Iterator[Row]:
    """Rows of one pair each."""
    for group in groups:
        for continuation in group.continuations:
            row = Row()
            row.add(Group(group.beginning, [continuation]))
            yield row
