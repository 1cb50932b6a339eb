"""Token ids word by word: a word that was met before is looked up, not tokenised again.

Of a static student's time most goes into its tokenizer, and most words of a text are old acquaintances
(Zipf). BERT's tokenizers treat what stands between two spaces by itself, so that the ids of a text are
those of its words behind one another; of tokenizers that do not, texts are tokenised whole.
"""

import json
from collections.abc import Sequence
from itertools import chain

from tokenizers import Encoding, Tokenizer

_NORMALIZERS: set[str | None] = {None, "BertNormalizer", "Lowercase"}
_PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_MODELS = {"WordPiece", "WordLevel"}
_MOST = 1 << 18
"""Words that are remembered: some tens of megabytes."""


class WordIds:
    """A tokenizer that remembers words. Not for use by several threads at once."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._by_word = is_by_word(tokenizer)
        self._known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special tokens, cut at the maximum length."""
        if not self._by_word:
            return [found.ids for found in self._encode(texts)]
        rows = [_words(text) for text in texts]
        fresh = {word for row in rows for word in row if word not in self._known}
        if len(self._known) + len(fresh) > _MOST:
            self._known.clear()
            fresh = {word for row in rows for word in row}
        words = list(fresh)
        self._known.update(zip(words, (found.ids for found in self._encode(words)), strict=True))
        look = self._known.__getitem__
        return [list(chain.from_iterable(map(look, row)))[: self._max_length] for row in rows]

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        found: list[Encoding] = self._tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return found


def _words(text: str) -> list[str]:
    """What stands between spaces and line ends. Other white space is the tokenizer's affair: BERT's
    drops some of it without parting what it stood between."""
    return text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")


def is_by_word(tokenizer: Tokenizer) -> bool:
    """Whether a text's ids are those of its words behind one another."""
    parts = json.loads(tokenizer.to_str())
    local = all(
        (parts.get(key) or {}).get("type") in kinds
        for key, kinds in (
            ("normalizer", _NORMALIZERS),
            ("pre_tokenizer", _PRE_TOKENIZERS),
            ("model", _MODELS),
        )
    )
    apart = all(
        not token["single_word"] and not any(letter.isspace() for letter in token["content"])
        for token in parts.get("added_tokens") or []
    )
    return local and apart
