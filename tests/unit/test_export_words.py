"""Word by word a text has the very token ids that it has as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from ragdistill.export import words
from ragdistill.export.words import WordIds, is_by_word
from tiny_models import make_tokenizer

LETTERS = st.one_of(
    st.text(),
    st.text(
        alphabet="ab river\u00e9e\u0301\u0130\u4e2d.,?!-'\t\n\r\x0b\x0c\x1c\x85\u00a0\u2003\u200b\x00"
    ),
    st.lists(
        st.sampled_from(["the river", " [CLS]", "[SEP]x", "a", "\n\n", "\u4e2d\u6587", "k1.5"])
    ).map("".join),
)


def bert(*, lowercase: bool = True) -> Tokenizer:
    made = make_tokenizer()._tokenizer
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.no_padding()
    made.enable_truncation(12)
    return made


BERTS = {lowercase: bert(lowercase=lowercase) for lowercase in (True, False)}
ONES = {lowercase: WordIds(made, 12) for lowercase, made in BERTS.items()}


@given(texts=st.lists(LETTERS, max_size=4), lowercase=st.booleans())
def test_ids_are_those_of_whole_texts(texts: list[str], lowercase: bool) -> None:
    assert is_by_word(BERTS[lowercase])
    whole = BERTS[lowercase].encode_batch(texts, add_special_tokens=False)
    assert ONES[lowercase](texts) == [found.ids for found in whole]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MOST", 5)
    made = WordIds(bert(), 12)
    for number in range(20):
        texts = [f"river {number} the", f"{number} {number + 1} {number + 2} sea"]
        expected = [found.ids for found in bert().encode_batch(texts, add_special_tokens=False)]
        assert made(texts) == expected
        assert len(made._known) <= 8  # a batch's own words are kept, however many


def test_tokenizers_that_see_beyond_a_word_are_given_whole_texts() -> None:
    plain = Tokenizer(models.BPE({"a": 0, "b": 1, " ": 2}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert not is_by_word(plain)
    spaced = bert()
    spaced.add_tokens([AddedToken("the river")])
    assert not is_by_word(spaced)
    ids = WordIds(spaced, 12)(["on the river"])
    assert ids == [spaced.encode("on the river", add_special_tokens=False).ids]
    lonely = bert()
    lonely.add_tokens([AddedToken("river", single_word=True)])
    assert not is_by_word(lonely)
