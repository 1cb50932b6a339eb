"""Near-duplicates between what trains and what is measured: MinHash with banding (LSH).

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. MinHash only proposes: every pair proposed is
decided by the exact Jaccard similarity of its shingles.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

_PERMUTATIONS = 128
_RECALL = 0.995
"""Chance, at least, that a pair exactly at the threshold is proposed."""

_SHORT = 8
"""Distinct words up to which a text is compared by its words. Shingles of three words are blind on
so short a text (one word changed changes up to three), while of the words of two such texts that
differ in one, less than 0.8 are common: only reordering, adding or dropping a word comes through.
"""

# Scripts without blanks between words (Chinese, Japanese kana): each character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")

Match = tuple[int, int, float]
"""Index of the training text, index of the evaluation text, Jaccard similarity."""


def near_duplicates(
    train_texts: Sequence[str], eval_texts: Sequence[str], threshold: float = 0.8
) -> list[Match]:
    """For each evaluation text that has a near-duplicate among the training texts, the nearest.

    Texts are compared as sets of three-word shingles, texts of up to eight distinct words as sets
    of words; case, punctuation and Unicode forms do not count. At most one match an evaluation
    text (the first of the nearest), so that boilerplate cannot make the answer quadratic. The same
    texts give the same matches, ordered by evaluation index.

    Raises:
        ValueError: ``threshold`` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    train, evaluation = _distinct(train_texts), _distinct(eval_texts)
    best: dict[str, tuple[float, int]] = {}
    for width in (1, 3):
        for train_key, eval_key, jaccard in _matches(
            [key for key in train if _compared(key, width, threshold)],
            [key for key in evaluation if _compared(key, width, threshold)],
            width,
            threshold,
        ):
            found = (-jaccard, train[train_key][0])
            best[eval_key] = min(best.get(eval_key, found), found)
    return sorted(
        (
            (train_index, eval_index, -negated)
            for key, (negated, train_index) in best.items()
            for eval_index in evaluation[key]
        ),
        key=lambda match: match[1],
    )


def audit(
    train_texts: Sequence[str],
    eval_texts: Sequence[str],
    threshold: float = 0.8,
    examples: int = 10,
) -> dict[str, Any]:
    """``near_duplicates`` of report.json: how many of the evaluation texts have one in training.

    Keys: ``count``, ``share`` (of the evaluation texts; None where there are none), ``threshold``,
    and ``examples``: the nearest few, each ``train``, ``evaluation`` (texts, cut to 200 characters)
    and ``jaccard``.
    """
    matches = near_duplicates(train_texts, eval_texts, threshold)
    return summary(matches, train_texts, eval_texts, threshold, examples)


def summary(
    matches: Sequence[Match],
    train_texts: Sequence[str],
    eval_texts: Sequence[str],
    threshold: float = 0.8,
    examples: int = 10,
) -> dict[str, Any]:
    """What :func:`audit` gives, of ``matches`` that :func:`near_duplicates` found."""
    nearest = sorted(matches, key=lambda match: (-match[2], match[1]))[:examples]
    return {
        "count": len(matches),
        "share": len(matches) / len(eval_texts) if eval_texts else None,
        "threshold": threshold,
        "examples": [
            {
                "train": train_texts[i][:200],
                "evaluation": eval_texts[j][:200],
                "jaccard": round(jaccard, 4),
            }
            for i, j, jaccard in nearest
        ],
    }


def words(text: str) -> list[str]:
    """The words of ``text``, folded to one case and Unicode form."""
    return _WORD.findall(_folded(text))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _distinct(texts: Sequence[str]) -> dict[str, list[int]]:
    """Each text as its words between blanks, and where it stands in ``texts``."""
    places: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        places.setdefault(" ".join(words(text)) or _folded(text), []).append(index)
    return places


def _compared(key: str, width: int, threshold: float) -> bool:
    """Whether a text takes part in the comparison by shingles of ``width`` words. By words, so do
    those too long to be short that a short one could still resemble enough."""
    words = len(set(key.split()))
    return words > _SHORT if width == 3 else words <= _SHORT / threshold


def _shingles(key: str, width: int) -> set[str]:
    words = key.split() or [key]
    return {" ".join(words[i : i + width]) for i in range(max(1, len(words) - width + 1))}


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows: the most rows with which a pair at the threshold is proposed with a chance of
    ``_RECALL``, 1 - (1 - threshold^rows)^bands."""
    for rows in range(16, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _PERMUTATIONS, 1


def _matches(
    train: Sequence[str], evaluation: Sequence[str], width: int, threshold: float
) -> Iterator[tuple[str, str, float]]:
    """Pairs of keys at or above the threshold. The evaluation texts, the fewer, are indexed."""
    if not (train and evaluation):
        return
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(threshold))
    for key, sketch in zip(evaluation, _sketches(evaluation, width), strict=True):
        index.insert(key, sketch)
    for key, sketch in zip(train, _sketches(train, width), strict=True):
        if not (proposed := index.query(sketch)):
            continue
        own = _shingles(key, width)
        for other in proposed:
            theirs = _shingles(other, width)
            if width == 1 and min(len(own), len(theirs)) > _SHORT:
                continue  # neither is short: the comparison by shingles decides
            jaccard = len(own & theirs) / len(own | theirs)
            if jaccard >= threshold:
                yield key, other, jaccard


def _sketches(keys: Sequence[str], width: int) -> Iterator[Any]:
    """The MinHash of each text, one at a time. CRC-32, because Python's own hash is salted."""
    from datasketch import MinHash

    shingles = ([shingle.encode() for shingle in _shingles(key, width)] for key in keys)
    yield from MinHash.generator(shingles, num_perm=_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
