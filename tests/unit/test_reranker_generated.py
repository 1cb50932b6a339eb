"""Questions that a language model writes: each is that of its document alone, written once, and kept
only if it leads back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ragdistill.cli import main
from ragdistill.data.collection import Document
from ragdistill.first_stage import Words
from ragdistill.models.resolve import resolve
from ragdistill.signals.store import SignalStore
from ragdistill_reranker.generated import (
    BATCH,
    TURNS,
    Generated,
    QuestionWriter,
    cleaned,
    fingerprint,
)
from ragdistill_reranker.language_model import LanguageModel
from ragdistill_reranker.questions import Question
from rerank_helpers import piecemeal, report_of
from tiny_models import save_tiny, texts
from tiny_scorers import save_language_model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel(resolve(str(save_language_model(tmp_path_factory.mktemp("lm")))), "cpu")


def writer(teacher: LanguageModel, folder: Path) -> QuestionWriter:
    space = SignalStore(folder).space(fingerprint(teacher), teacher="T")
    return QuestionWriter(teacher, space)


def test_a_reply_does_not_depend_on_what_is_read_beside_it(
    teacher: LanguageModel, tmp_path: Path
) -> None:
    asked = [" ".join(texts(9)[:count]) for count in (1, 4, 2, 9)]
    together = writer(teacher, tmp_path / "together").replies(asked)
    assert together == [
        writer(teacher, tmp_path / str(place)).replies([text])[0]
        for place, text in enumerate(asked)
    ]
    assert len(set(together)) == len(asked)  # else the model would be blind


def test_what_was_replied_is_never_asked_again(
    teacher: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def replying(self: QuestionWriter, part: Sequence[str]) -> list[str]:
        if len(asked) >= 2 * BATCH:
            raise KeyboardInterrupt
        asked.extend(part)
        return [f"what is {text}" for text in part]

    monkeypatch.setattr(QuestionWriter, "_written", replying)
    wanted = [*texts(3 * BATCH), texts(1)[0]]
    with pytest.raises(KeyboardInterrupt):
        writer(teacher, tmp_path).replies(wanted)
    del asked[:]
    again = writer(teacher, tmp_path)
    assert again.replies(wanted) == [f"what is {text}" for text in wanted]
    assert asked == list(texts(3 * BATCH)[2 * BATCH :])
    assert again.missing(wanted) == []


def test_a_teacher_that_asks_nothing_is_not_asked_about_a_whole_corpus(
    teacher: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuestionWriter, "_written", lambda self, part: ["No idea."] * len(part))
    documents = [
        Document(str(number), f"{text} {number}") for number, text in enumerate(texts(12) * 50)
    ]
    stage = Words([document.content for document in documents])
    asking = Generated(writer(teacher, tmp_path), documents, stage, 5)
    assert list(asking(range(len(documents)), 10)) == []
    assert asking.met == TURNS * 10


@pytest.mark.parametrize(
    ("reply", "question"),
    [
        ("Where does the river flow?", "Where does the river flow?"),
        ('\n "Where does it flow?" I hope this helps. Or?', "Where does it flow?"),
        ("Question: Where does it flow?\nAnswer: to the sea", "Where does it flow?"),
        ("**Q:** Where does it flow?", "Where does it flow?"),
        ("What does os.path: join do?", "What does os.path: join do?"),
        ("It flows to the sea.\nWhere does it flow?", None),
        ("Where does it flow", None),
        ("Why?", None),
        (" ".join(["very"] * 60) + " long?", None),
        ("", None),
    ],
)
def test_of_a_reply_the_question_is_taken(reply: str, question: str | None) -> None:
    assert cleaned(reply) == question


def test_nobody_has_judged_what_a_teacher_wrote() -> None:
    assert not Question("Where does it flow?", (0,), generated=True).judged


def test_a_run_learns_from_what_leads_back_to_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def replying(self: QuestionWriter, part: Sequence[str]) -> list[str]:
        said = []
        for text in part:
            number = len(written)
            written.append(text)
            asked = f"{' '.join(text.split()[:6])}?"
            said.append(("no question", "zebras zebras zebras?", asked, asked)[number % 4])
        return said

    monkeypatch.setattr(QuestionWriter, "_written", replying)
    piecemeal(tmp_path / "data")
    save_tiny(tmp_path / "base")
    save_language_model(tmp_path / "teacher")

    def run(out: str, *more: str) -> dict[str, Any]:
        words = ["reranker", "--data", str(tmp_path / "data"), "--out", str(tmp_path / out)]
        words += ["--teacher", str(tmp_path / "teacher"), "--student", "bi-encoder", "--json"]
        words += ["--student-model", str(tmp_path / "base"), "--store", str(tmp_path / "store")]
        words += ["--first-stage", "bm25", "--questions", "generated", "--candidates", "4"]
        words += ["--ways", "4", "--train-items", "16", "--epochs", "1", *more]
        return report_of(CliRunner().invoke(main, [*words, "--stages", "collect,train,evaluate"]))

    plan = run("run", "--dry-run")["plan"]
    assert any("write about 16 questions" in step for step in plan["steps"])
    assert not (tmp_path / "run").exists()
    del written[:]
    train = run("run")["data"]["train"]
    assert (train["lists"], train["generated"], train["pieces"]) == (16, 16, 0)
    assert train["dropped"] == 16
    assert len(written) == 32
    del written[:]
    assert run("other")["data"]["train"] == train
    assert written == []
