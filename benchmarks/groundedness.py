"""Does groundedness by words see what people see? CLAP NQ has answers that people wrote from a passage,
and the sentences of it that they marked as the source.

    python -m benchmarks.groundedness FOLDER   # clapnq in BEIR's layout, with selected_sentences

Prints the figures that ragdistill.metrics.grounding tells of.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from ragdistill.metrics.grounding import content, grounded_sentences, groundedness
from ragdistill.metrics.sentences import sentences


def main(folder: Path) -> None:
    documents = {row["_id"]: row for row in _rows(folder / "corpus.jsonl")}
    asked = [row for row in _rows(folder / "queries.jsonl") if row["answers"]]
    answers = [row["answers"][0] for row in asked]
    passages = [_text(documents[row["context_ids"][0]]) for row in asked]
    own = [[text] for text in passages]
    other = [*own[1:], own[0]]
    planted = [_planted(*pair) for pair in zip(answers, [*answers[1:], answers[0]], strict=True)]
    turned = [_planted(*pair) for pair in zip(answers, passages, strict=True)]
    for name, said, held in (
        ("own passage", answers, own),
        ("another's passage", answers, other),
        ("own passage, a word of each sentence exchanged for one of another answer", planted, own),
        ("own passage, a word of each sentence exchanged for one of the passage", turned, own),
    ):
        tokens, whole = groundedness(said, held), grounded_sentences(said, held)
        print(f"{name}: tokens {np.nanmean(tokens):.3f}, sentences {np.nanmean(whole):.3f}")
    for window in (20, 30, 50, 80, 10_000):
        shares = [_nearest(said, own, window) for said in (answers, planted)]
        told = ", ".join(
            f"{least:.0%} of them: {(shares[0] >= least).mean():.3f}, exchanged "
            f"{(shares[1] >= least).mean():.3f}"
            for least in (1.0, 0.8)
        )
        print(f"sentences whose tokens stand within {window}: {told}")
    print(f"marked sentences told from the rest: AUC {_marked(asked, documents):.3f}")


def _planted(answer: str, other: str) -> str:
    """``answer`` with the longest word of each sentence exchanged for the longest of ``other``."""
    stranger = max(re.findall(r"\w+", other), key=len)

    def exchanged(sentence: str) -> str:
        longest = max(re.findall(r"\w+", sentence), key=len, default="")
        return re.sub(rf"\b{longest}\b", stranger, sentence, count=1)

    return " ".join(map(exchanged, sentences(answer)))


def _nearest(answers: Sequence[str], held: Sequence[Sequence[str]], window: int) -> Any:
    """The greatest share of a sentence's content tokens that stand within ``window`` consecutive ones
    of its passage, of all sentences of all answers ``[sentences]``."""
    found = []
    for answer, (passage,) in zip(answers, held, strict=True):
        tokens = content(passage)
        starts = range(max(1, len(tokens) - window + 1))
        for wanted in filter(None, (set(content(each)) for each in sentences(answer))):
            best = max(len(wanted & set(tokens[i : i + window])) for i in starts)
            found.append(best / len(wanted))
    return np.array(found)


def _marked(asked: Sequence[dict[str, Any]], documents: dict[str, Any]) -> float:
    """Area under the curve: by the share of its content tokens that the answer has, a sentence that
    was marked comes before one that was not."""
    shares: dict[bool, list[float]] = {True: [], False: []}
    for row in asked:
        marked = {sentence.strip() for sentence in row["selected_sentences"]}
        passage = sentences(documents[row["context_ids"][0]]["text"])
        found = groundedness(passage, [row["answers"]] * len(passage))
        for sentence, share in zip(passage, found, strict=True):
            if content(sentence):
                shares[sentence in marked].append(float(share))
    pairs = len(shares[True]) * len(shares[False])
    return float(mannwhitneyu(shares[True], shares[False]).statistic / pairs)


def _text(document: dict[str, Any]) -> str:
    return f"{document['title']}\n{document['text']}"


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
