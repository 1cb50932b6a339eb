"""Near-duplicates: MinHash finds what comparing every pair finds."""

import random
import re
import subprocess
import sys

import pytest

from data_helpers import real_set
from ragdistill.data import beir
from ragdistill.data.leakage import audit, near_duplicates

WORDS = [f"w{i}" for i in range(400)]


def passages(count: int, length: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=length)) for _ in range(count)]


def changed(text: str, edits: int, seed: int) -> str:
    source, words = random.Random(seed), text.split()
    for place in source.sample(range(len(words)), edits):
        words[place] = "changed"
    return " ".join(words)


def reference(train: list[str], evaluation: list[str]) -> dict[int, float]:
    """The greatest Jaccard similarity of three-word shingles, where it is at least 0.8."""

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.casefold())
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    sets = [shingles(text) for text in train]
    found = {}
    for index, text in enumerate(evaluation):
        own = shingles(text)
        best = max(len(own & other) / len(own | other) for other in sets)
        if best >= 0.8:
            found[index] = best
    return found


def test_finds_what_comparing_all_pairs_finds() -> None:
    train = passages(120, 100, seed=0)
    evaluation = [changed(text, i % 8, seed=i) for i, text in enumerate(train)]
    evaluation += passages(60, 100, seed=1)
    expected = reference(train, evaluation)
    assert 30 < len(expected) < 110  # some of each, or the test says nothing
    matches = near_duplicates(train, evaluation)
    assert {index: jaccard for _, index, jaccard in matches} == expected
    assert all(train_index == eval_index for train_index, eval_index, _ in matches)


@pytest.mark.parametrize(
    ("train", "evaluation", "found"),
    [
        ("What is the capital of France?", "what is the CAPITAL of france", True),
        ("What is the capital of France?", "capital of France: what is the", True),
        ("What is the capital of France?", "What is the capital of Spain?", False),
        ("What is the capital of France?", "So what is the capital of France?", True),
        (
            "one two three four five six seven eight",
            "one two three four five six seven nine",
            False,
        ),
        (  # on both sides of where shingles of three words begin
            "one two three four five six seven eight",
            "one two three four five six seven eight nine",
            True,
        ),
        (
            "one two three four five six seven eight nine ten",
            "ten nine eight seven six five four three two one",
            False,
        ),
        ("\uff21 full-width \ufb01ne", "a FULL width fine", True),
        ("巴黎是法国的首都也是最大的城市", "巴黎是法国的首都也是最大的城市。", True),
        ("巴黎是法国的首都也是最大的城市", "柏林是德国的首都也是最大的城市", False),
        ("?!", "?!", True),
        ("?!", "!!", False),
    ],
)
def test_short_texts_and_other_scripts(train: str, evaluation: str, found: bool) -> None:
    assert bool(near_duplicates([train], [evaluation])) is found


def test_at_most_one_match_each_and_the_nearest() -> None:
    text = passages(1, 60, seed=2)[0]
    train = [changed(text, 1, seed=0), text, text, *passages(5, 60, seed=3)]
    assert near_duplicates(train, ["other words", text, text]) == [(1, 1, 1.0), (1, 2, 1.0)]
    assert near_duplicates([], [text]) == near_duplicates([text], []) == []
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates([text], [text], threshold=0)


def test_boilerplate_is_not_quadratic() -> None:
    same = ["This page is intentionally left blank by the author of the handbook."] * 20_000
    assert len(near_duplicates(same, same)) == 20_000


def test_the_audit_counts_and_shows() -> None:
    train = passages(30, 40, seed=4)
    found = audit(train, [*train[:12], *passages(12, 40, seed=5)])
    assert found["count"] == 12
    assert found["share"] == 0.5
    assert len(found["examples"]) == 10
    assert found["examples"][0] == {"train": train[0], "evaluation": train[0], "jaccard": 1.0}
    assert audit(train, [])["share"] is None


def test_another_process_finds_the_same() -> None:
    code = (
        "import random; from ragdistill.data.leakage import near_duplicates as n; r = random.Random(0);"
        "t = [' '.join(r.choices('abcdefgh', k=12)) for _ in range(300)]; print(n(t[:150], t[150:], .3))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for salt in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 100


def test_repeated_passages_of_a_real_corpus() -> None:
    texts = [document.content for document in beir.load(real_set("clapnq")).documents]
    assert near_duplicates(texts, texts[:50]) == [(i, i, 1.0) for i in range(50)]
