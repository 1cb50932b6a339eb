"""Sentences of an answer, and the marks in it that cite a context: ``[1]``, ``[1, 3]``, ``[1][3]``."""

import re

_NUMBERS = r"\[\s*\d{1,3}(?:\s*[,;]\s*\d{1,3})*\s*\]"
# Straight after a closing parenthesis it is an index: calendar.monthrange(2028, 2)[1].
_MARKER = re.compile(rf"(?<!\)){_NUMBERS}")
# A mark after the full stop belongs to the sentence before it.
_END = re.compile(
    rf"(?:[.!?][\"'\u201d\u2019)\]]*(?=\s|\[\s*\d|$)|[\u3002\uff01\uff1f]|(?=\n))(?:\s*{_NUMBERS})*\s*"
)


def sentences(text: str) -> list[str]:
    """``text`` cut after full stops, exclamation and question marks that end a word, and at line
    breaks; marks that cite stay with what they follow. By the rule of thumb: "Dr. Who" is two."""
    cuts = [match.end() for match in _END.finditer(text)]
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [stripped for piece in pieces if (stripped := piece.strip())]


def cited(text: str) -> list[int]:
    """The numbers of the contexts that ``text`` cites, in their order, as often as it does."""
    return [int(number) for mark in _MARKER.findall(text) for number in re.findall(r"\d+", mark)]


def without_marks(text: str) -> str:
    """``text`` without what cites, and without the blank before it: what the references have."""
    return re.sub(rf"\s*{_MARKER.pattern}", "", text).strip()
