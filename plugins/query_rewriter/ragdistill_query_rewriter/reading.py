"""A turn and its conversation as tokens, and at which of them each word of the conversation begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from ragdistill.errors import UserError
from ragdistill_query_rewriter.words import spans, words


@dataclass(frozen=True, slots=True)
class Page:
    """What a term selector reads of one turn."""

    ids: list[int]
    """The turn, and behind it the conversation, the oldest turn first."""
    types: list[int]
    """0 for the turn, 1 for the conversation."""
    words: dict[str, list[int]] = field(default_factory=dict)
    """Each word of the conversation that the turn has not, in lower case, to the tokens at which it
    begins."""
    forms: list[str] = field(default_factory=list)
    """The words as they stand where they come first."""


class PageReader:
    """Lays turns out for a network that reads ``window`` tokens."""

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        """
        Raises:
            UserError: the tokenizer marks no ends, or the window holds nothing.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer, self.window = tokenizer, window
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise UserError(
                "the tokenizer does not mark the two ends of a text",
                where="--student-model",
                mend="choose an encoder, as MiniLM",
            )
        if window < 16:
            raise UserError(
                f"{window} tokens hold no conversation", where="--window", mend="give 16 or more"
            )
        self._first, self._last = ends

    def read(self, turns: Sequence[str], query: str) -> Page:
        """The page of ``query``, asked after ``turns`` (the oldest first). Where they are too long the
        last turn stays, then the one that opened the conversation, then those before the last."""
        asked = self._tokenizer.encode(query, add_special_tokens=False).ids
        asked = asked[: self.window // 2]
        page = Page([self._first, *asked, self._last], [0] * (len(asked) + 2))
        have, forms = set(words(query)), dict[str, str]()
        for text, room in self._kept(turns, self.window - len(page.ids)):
            begun = len(page.ids)
            ids, places = self._begins(text, room - 1)
            page.ids.extend([*ids, self._last])
            page.types.extend([1] * (len(ids) + 1))
            for place, form in places:
                if (word := form.lower()) not in have:
                    page.words.setdefault(word, []).append(begun + place)
                    forms.setdefault(word, form)
        page.forms.extend(forms.values())
        return page

    def _kept(self, turns: Sequence[str], room: int) -> Iterator[tuple[str, int]]:
        """The turns that there is room for, in their order, and the tokens that each may have."""
        last = len(turns) - 1
        order = list(dict.fromkeys([last, 0, *range(last - 1, 0, -1)])) if turns else []
        kept: dict[int, int] = {}
        for turn in order:
            size = len(self._tokenizer.encode(turns[turn], add_special_tokens=False).ids) + 1
            if size > room and (kept or room < 2):
                break
            kept[turn] = min(size, room)
            room -= kept[turn]
        return ((turns[turn], kept[turn]) for turn in sorted(kept))

    def _begins(self, text: str, room: int) -> tuple[list[int], list[tuple[int, str]]]:
        """The first ``room`` tokens of ``text``, and the words that begin there."""
        told = self._tokenizer.encode(text, add_special_tokens=False)
        ends = [end for _, end in told.offsets[:room]]
        found, place = [], 0
        for start, form in spans(text):
            while place < len(ends) and ends[place] <= start:
                place += 1
            if place == len(ends):
                break
            found.append((place, form))
        return list(told.ids[:room]), found
