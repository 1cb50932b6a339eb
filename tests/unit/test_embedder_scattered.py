"""What a Ray worker answers, and what it says when it cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

from ragdistill.errors import UserError
from ragdistill.models.resolve import resolve
from ragdistill_embedder.scattered import Worker, _unpacked
from ragdistill_embedder.teacher import LocalTeacher
from tiny_models import save_tiny, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("worker") / "teacher")


def worker(folder: Path, **changed: str) -> Worker:
    model = resolve(str(folder))
    identity = (
        changed.get("weights", model.weights_digest),
        changed.get("tokenizer", model.tokenizer_digest),
    )
    return Worker(changed.get("reference", str(folder)), identity, "cpu", 32)


def rows(worker: Worker, window: int | None = None) -> Iterator[dict[str, Any]]:
    part = pa.table({"start": [100], "texts": [list(texts(40))]})
    for made in worker(part, "the ", window):
        table = pa.table(made)  # as Ray keeps it
        yield from table.to_pylist()


@pytest.mark.parametrize("window", [None, 3])
def test_a_worker_answers_as_the_teacher_does(folder: Path, window: int | None) -> None:
    teacher = LocalTeacher(resolve(str(folder)), "cpu", max_length=32)
    found = [_unpacked(row) for row in rows(worker(folder), window)]
    for mine, (places, answer, tokens) in zip(
        found, teacher.answers(texts(40), "the ", window=window), strict=True
    ):
        assert mine[0] == [100 + place for place in places]
        assert mine[2] == tokens
        assert (mine[1].vectors == answer.vectors).all()
        assert len(mine[1].windows) == len(answer.windows)
        for ours, theirs in zip(mine[1].windows, answer.windows, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": "f" * 64}, r"another model by this name \(weights .*not ffffffffffff\)"),
        ({"tokenizer": "f" * 64}, r"another model by this name \(tokenizer .*give all machines"),
        ({"reference": "./nowhere"}, "no such model folder"),
    ],
)
def test_a_worker_with_another_teacher_is_refused(
    folder: Path, changed: dict[str, str], said: str
) -> None:
    (row,) = rows(worker(folder, **changed))
    with pytest.raises(UserError, match=said):
        _unpacked(row)


def test_whatever_fails_in_a_worker_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("out of memory\nand much more")

    made = worker(folder)
    monkeypatch.setattr(LocalTeacher, "answers", fail)
    (row,) = rows(made)
    with pytest.raises(UserError, match="a worker failed: RuntimeError: out of memory; the same"):
        _unpacked(row)
