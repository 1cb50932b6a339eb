"""What a teacher says of tokens: had once, kept by content, and the same in whatever row it is read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lesson_helpers import WORDS, examples, llama
from ragdistill.signals.logits import TopK
from ragdistill.signals.store import SignalStore, Space
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.telling import Teller, stored, wanted_of


def teller() -> Teller:
    kept = TopK(mass=1.0, most=WORDS)
    return Teller(llama().float(), kept, weights="w", tokenizer="t", precision="float32")


def space(folder: Path, of: Teller) -> Space:
    return SignalStore(folder / "store").space(of.fingerprint(), teacher="teacher")


def lesson(count: int = 8) -> Lesson:
    return Lesson(examples(12)[:count], 512)


def test_what_is_stored_is_what_is_said_of_each_alone(tmp_path: Path) -> None:
    one = teller()
    one.collect(lesson(), True, space(tmp_path, one))
    told = stored(lesson(), True, space(tmp_path, one))
    network = llama().float()
    for each in told.examples:
        ids = [*each.beginning, *each.question, *each.answer]
        with torch.no_grad():
            said = network(torch.tensor([ids])).logits[0].softmax(dim=-1).numpy()
        assert each.targets is not None
        assert each.read is not None
        assert each.targets.labels.tolist() == list(each.answer)
        answer = said[-len(each.answer) - 1 : -1]
        np.testing.assert_allclose(each.targets.dense(WORDS), answer, atol=0.02)
        context = said[: len(each.beginning) - 1]
        np.testing.assert_allclose(each.read.dense(WORDS), context, atol=0.02)


def test_what_was_cut_off_goes_on_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, asked = teller(), []
    said = Teller._said

    def breaking(self: Teller, of: Lesson, row: object, wanted: list) -> object:
        if len(asked) == 1:
            asked.append(None)
            raise MemoryError
        asked.append([item.key for item in wanted])
        return said(self, of, row, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(Teller, "_said", breaking)
    with pytest.raises(MemoryError):
        one.collect(lesson(), True, space(tmp_path, one))
    first = one.missing(lesson(), True, space(tmp_path, one))
    one.collect(lesson(), True, space(tmp_path, one))
    whole = lesson()
    rows = whole.rows(range(len(whole.examples)))
    every = [item.key for row in rows for item in wanted_of(row, whole.examples, True)]
    told = [key for keys in asked if keys for key in keys]
    assert sorted(told) == sorted(every)
    assert len(first) == len(rows) - 1
    assert one.collect(lesson(), True, space(tmp_path, one)).records == 0
    # One more question about a context that was read: of the context nothing is asked again.
    assert one.collect(lesson(9), True, space(tmp_path, one)).records == 1
