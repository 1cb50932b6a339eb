"""Many continuations of one beginning in one forward pass: what they share is computed once.

A language model that scores queries by a document reads the document again and again: it is in as many
pairs as there are queries that found it. Here a row holds documents, and behind each the queries that
ask for it. A query sees its own document and itself, never another query, and its positions go on
where the document ends: what the model says of it is what it says of the pair alone. Nothing is
padded. (The mask is that of prefix caching, as in Hydragen, arXiv:2402.05099, in one pass.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Group:
    """A beginning, and what may follow it: each continuation with its place among the pairs."""

    beginning: Tokens
    continuations: Sequence[tuple[int, Tokens]]


@dataclass(frozen=True, slots=True)
class Span:
    """A continuation in a row: tokens ``[start, end)``, behind a beginning that ends at ``behind``."""

    place: int
    behind: int
    start: int
    end: int

    @property
    def before(self) -> Sequence[int]:
        """The position that foretells each of its tokens."""
        return [self.behind - 1, *range(self.start, self.end - 1)]


@dataclass(slots=True)
class Row:
    """Groups behind one another."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """``[start, end)`` of each beginning."""
    spans: list[Span] = field(default_factory=list)

    def add(self, group: Group) -> None:
        """One more group."""
        start = len(self.tokens)
        self.tokens += group.beginning
        behind = len(self.tokens)
        self.positions += range(behind - start)
        self.blocks.append((start, behind))
        for place, tokens in group.continuations:
            at = len(self.tokens)
            self.tokens += tokens
            self.positions += range(behind - start, behind - start + len(tokens))
            self.spans.append(Span(place, behind, at, len(self.tokens)))

    def seen(self) -> Tensor:
        """``[n, n]``, true where a token (row) sees another (column)."""
        size = len(self.tokens)
        seen = torch.zeros(size, size, dtype=torch.bool)
        begins = {end: start for start, end in self.blocks}
        for start, end in self.blocks:
            seen[start:end, start:end] = True
        for span in self.spans:
            seen[span.start : span.end, begins[span.behind] : span.behind] = True
            seen[span.start : span.end, span.start : span.end] = True
        return seen.tril()

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to attention's logits, ``[1, 1, n, n]``: 0 where a token sees another, else the
        least number. (True and false are added as 1 and 0 by models that attend without PyTorch's own
        kernel.)"""
        added = torch.zeros(len(self.tokens), len(self.tokens), dtype=dtype)
        return added.masked_fill(~self.seen(), torch.finfo(dtype).min)[None, None]


def pack(groups: Sequence[Group], budget: int) -> Iterator[Row]:
    """Rows of at most ``budget`` tokens, where a single pair is not longer; a group that is too long
    is cut, and its beginning comes in each part."""
    row = Row()
    for group in groups:
        for part in _parts(group, budget):
            size = len(part.beginning) + sum(len(tokens) for _, tokens in part.continuations)
            if row.tokens and len(row.tokens) + size > budget:
                yield row
                row = Row()
            row.add(part)
    if row.tokens:
        yield row


def _parts(group: Group, budget: int) -> Iterator[Group]:
    held: list[tuple[int, Tokens]] = []
    size = len(group.beginning)
    for place, tokens in group.continuations:
        if held and size + len(tokens) > budget:
            yield Group(group.beginning, held)
            held, size = [], len(group.beginning)
        held.append((place, tokens))
        size += len(tokens)
    if held:
        yield Group(group.beginning, held)
