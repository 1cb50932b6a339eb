"""What generators meet at the edges: padded heads, other ends, odd templates, NaN, too little to learn from."""

import json
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from answer_helpers import NO_EXPORT, answering, run, save_answerer
from lesson_helpers import batch_of, examples, llama, recipe
from other_tokens import save_other
from ragdistill import causal, writing
from ragdistill.causal import token_ids
from ragdistill.metrics.refusals import REFUSAL
from ragdistill.signals.logits import Sampled, TopK
from ragdistill.training import fitting, language
from ragdistill.training.fitting import COLUMN, Course
from ragdistill.training.language import LABELS
from ragdistill.training.schedule import Schedule
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.lesson import Batches, Lesson
from ragdistill_generator.methods import Logits
from ragdistill_generator.setup import Setup
from ragdistill_generator.telling import Teller
from rerank_helpers import report_of
from tiny_models import WORDS

COLLECT = ("--stages", "collect")
TRAIN = ("--stages", "collect,train")
SAYS = "{% for message in messages %}{{ message['content'] }} {% endfor %}answer"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return answering(tmp_path / "data")


def setup_of(tmp_path: Path, data: Path, **more: Any) -> Setup:
    config = GeneratorConfig(
        teacher=str(tmp_path / "teacher"),
        data=str(data),
        store=str(tmp_path / "store"),
        **{"answer_tokens": 6, **more},
    )
    return Setup(config, tmp_path / "run", told=True, own=None)


def changed(folder: Path, change: Callable[[Any], Any]) -> Path:
    network = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        change(network)
    network.save_pretrained(folder)
    return folder


def pad(network: Any) -> None:
    """Rows for ids that no token has, likelier than most that are."""
    network.resize_token_embeddings(200, mean_resizing=False)
    network.get_output_embeddings().weight[-60:] = (
        1.5 * network.get_output_embeddings().weight[20:80]
    )


@pytest.mark.parametrize("more", [(), ("--kept", "top-k"), ("--method", "on-policy")])
def test_rows_that_pad_a_head_are_no_words(
    tmp_path: Path, data: Path, more: tuple[str, ...]
) -> None:
    save_answerer(tmp_path / "student")
    changed(save_answerer(tmp_path / "teacher"), pad)
    student = ("--student", str(tmp_path / "student"))
    report = report_of(run(tmp_path, data, *student, *more, *NO_EXPORT, "--json"))
    assert report["agreement"]["kl"] >= 0
    # Either may be the one that is padded.
    other = run(
        tmp_path / "other", data, "--teacher", student[1], "--student", str(tmp_path / "teacher"),
        *more, *NO_EXPORT,
    )  # fmt: skip
    assert other.exit_code == 0, other.output


def test_a_padded_teacher_says_what_it_says_without_padding(tmp_path: Path) -> None:
    network, padded = llama().float(), llama().float()
    padded.resize_token_embeddings(150, mean_resizing=False)
    with torch.no_grad():
        padded.get_output_embeddings().weight[120:] *= 50
    lesson = Lesson(examples(6), 200)
    (row, *_) = lesson.rows(range(6))
    told = []
    for each in (network, padded):
        kept = TopK(mass=1.0, most=120)
        teller = Teller(each, kept, weights="w", tokenizer="t", precision="float32", words=120)
        assert teller.codec.vocabulary == 120
        told.append(teller.said(lesson, row, True))
    for mine, theirs in zip(*told, strict=True):
        assert (mine.ids == theirs.ids).all()
        assert mine.probs == pytest.approx(theirs.probs, abs=1e-6)


def test_padding_reaches_neither_loss_nor_writing(tmp_path: Path, data: Path) -> None:
    folder = changed(save_answerer(tmp_path / "teacher"), pad)
    config = GeneratorConfig(teacher=str(folder), data=str(data), student_layers="2")
    assert Logits(config, tmp_path / "run")._recipe.vocabulary == 140
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        network.get_output_embeddings().weight[140:] *= 100
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (reply,) = causal.write(network, tokenizer, [[5, 6, 7]], 8)
    assert max(reply) < 140


def test_a_student_of_other_tokens_takes_a_padded_teacher(tmp_path: Path, data: Path) -> None:
    changed(save_answerer(tmp_path / "teacher"), pad)
    other = save_other(tmp_path / "other")
    result = run(tmp_path, data, "--student", str(other), *TRAIN)
    assert result.exit_code == 0, result.output


def test_ids_without_an_embedding_are_refused(tmp_path: Path, data: Path) -> None:
    changed(
        save_answerer(tmp_path / "teacher"), lambda network: network.resize_token_embeddings(60)
    )
    result = run(tmp_path, data, *COLLECT)
    assert result.exit_code == 2, result.output
    assert "embeddings of 60 ids" in result.output


@pytest.mark.parametrize(
    "more", [("--method", "sequence"), ("--method", "sequence", "--sampling", "1")]
)
def test_a_teacher_of_nan_writes_nothing(tmp_path: Path, data: Path, more: tuple[str, ...]) -> None:
    def spoil(network: Any) -> None:
        network.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")

    changed(save_answerer(tmp_path / "teacher"), spoil)
    result = run(tmp_path, data, *more, *COLLECT)
    assert result.exit_code == 2, result.output
    assert "NaN" in result.output


def test_a_drawing_teacher_is_measured_by_its_likeliest_words(tmp_path: Path, data: Path) -> None:
    greedy = report_of(run(tmp_path, data, "--method", "sequence", *NO_EXPORT, "--json"))
    drawn = ("--method", "sequence", "--sampling", "2", *NO_EXPORT, "--json")
    plan = json.loads(run(tmp_path, data, *drawn, "--dry-run", out="drawn").stdout)["plan"]
    report = report_of(run(tmp_path, data, *drawn, out="drawn"))
    assert report["quality"]["F1"]["teacher"] == greedy["quality"]["F1"]["teacher"]
    texts = [
        (tmp_path / out / "answers/teacher.jsonl").read_text("utf-8") for out in ("run", "drawn")
    ]
    assert texts[0] == texts[1]
    # What is measured was there; what is learnt is drawn.
    assert plan["items"] == report["stages"]["collect"]["items"] == 48
    setup = setup_of(tmp_path, data, answers="teacher", sampling=2.0)
    replies = [writing.stored(space, setup.requests(setup.train_cases)) for space in (
        setup.texts, setup.space(setup.measured.fingerprint())
    )]  # fmt: skip
    assert replies[0] != replies[1]


def test_what_is_learnt_is_not_measured_whatever_it_is_called(tmp_path: Path, data: Path) -> None:
    own = report_of(run(tmp_path, data, *NO_EXPORT, "--json"))
    named = ("--eval-data", str(data), *NO_EXPORT, "--json")
    report = report_of(run(tmp_path, data, *named, out="named"))
    assert report["data"]["queries"] == own["data"]["queries"]
    assert report["data"]["near_duplicates"]["count"] == own["data"]["near_duplicates"]["count"]


def test_general_text_leaves_out_what_is_measured_on(tmp_path: Path, data: Path) -> None:
    save_answerer(tmp_path / "teacher")
    setup = setup_of(tmp_path, data, mix=f"{data}:0.9")
    measured = setup.measured_texts
    every = {document.content for document in setup.collection.documents}
    assert measured
    assert measured < every
    assert setup.mix is not None

    def learnt(apart: Container[str]) -> set[str]:
        found = setup.mix.examples(setup.ours, 10**6, 0, apart)  # type: ignore[union-attr]
        return {setup.tokenizer.decode([*each.beginning, *each.answer]) for each in found}

    # Without the rule they would be among it.
    told = {setup.tokenizer.decode(setup.ours.ids(text, 128)) for text in measured}
    assert told & learnt(())
    assert not told & learnt(measured)


def test_an_answer_that_is_cut_does_not_end(tmp_path: Path, data: Path) -> None:
    save_answerer(tmp_path / "teacher")
    setup = setup_of(tmp_path, data)
    assert setup.ours.ends[0] == 3
    short, long = ("red river", "the river is red and old and long")
    case = setup.train_cases[0]
    first, second = setup.as_lesson([(case, short), (case, long)]).examples
    assert first.answer == [*token_ids(setup.tokenizer, short), 3]
    assert second.answer == token_ids(setup.tokenizer, long)[:5]


def test_of_other_tokens_only_whole_answers_end(tmp_path: Path, data: Path) -> None:
    save_answerer(tmp_path / "teacher")
    other = save_other(tmp_path / "other")
    setup = setup_of(tmp_path, data, student=str(other))
    for text, ends in (("red river", 1), ("the river is red and old and long", 0)):
        said = setup.translation.pairs(text)
        assert len(said) == min(len(token_ids(setup.tokenizer, text)), 5) + ends
        assert setup.translation.foreseen([text]).of_tokens == 1


def test_models_that_end_answers_otherwise_are_not_alike(tmp_path: Path, data: Path) -> None:
    """What the one says where an answer ends is no end to the other."""
    save_answerer(tmp_path / "teacher")
    folder = save_answerer(tmp_path / "student")

    def end(network: Any) -> None:
        network.generation_config.eos_token_id = [4]

    changed(folder, end)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    setup = setup_of(tmp_path, data, student=str(folder))
    assert setup.ours.ends == [4]
    assert setup.same_tokens
    assert not setup.alike
    assert setup.translation.shared[3] == 4
    result = run(tmp_path, data, "--student", str(folder), *TRAIN)
    assert result.exit_code == 0, result.output


def test_the_teacher_reads_its_own_tokens_when_it_is_timed(tmp_path: Path, data: Path) -> None:
    other = save_other(tmp_path / "other", [*(f"word{number}" for number in range(200)), *WORDS])
    report = report_of(run(tmp_path, data, "--student", str(other), "--json"))
    speed = report["speed"]
    assert speed["teacher"]["prompt_tokens"] != speed["student"]["prompt_tokens"]


@pytest.mark.parametrize(
    "more",
    [
        ("--train-items", "1"),
        ("--answer-tokens", "1"),
        ("--answer-tokens", "1", "--method", "labels"),
    ],
)
def test_too_little_to_learn_from_is_refused(
    tmp_path: Path, data: Path, more: tuple[str, ...]
) -> None:
    result = run(tmp_path, data, *more, *TRAIN)
    assert result.exit_code == 2, result.output
    assert "are left to learn" in result.output
    assert not (tmp_path / "run/run.json").exists()


def test_answers_of_nothing_are_no_answers(tmp_path: Path, data: Path) -> None:
    path = data / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    told = (json.dumps(row | {"answers": ["\u200b"]}) + "\n" for row in rows)
    path.write_text("".join(told), encoding="utf-8")
    result = run(tmp_path, data, *TRAIN)
    assert result.exit_code == 2, result.output
    assert "0 answers are left to learn" in result.output


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (("--method", "sequence", "--temperature", "2"), "--temperature"),
        (("--method", "sequence", "--alpha", "0.9"), "--alpha"),
        (("--method", "labels", "--divergence", "jsd"), "--divergence"),
        (("--method", "labels", "--beta", "0.3"), "--beta"),
        (("--method", "labels", "--kept", "top-k"), "--kept"),
        (("--top-k", "3"), "--top-k"),
        (("--mass", "0.5"), "--mass"),
        (("--kept", "top-k", "--draws", "7"), "--draws"),
        (("--tutor", "live", "--kept", "top-k"), "--kept"),
        (("--tutor", "live", "--entropy-floor", "1"), "--entropy-floor"),
        (("--tutor", "average", "--entropy-floor", "1"), "--entropy-floor"),
        (("--method", "on-policy", "--entropy-floor", "1"), "--entropy-floor"),
        (("--method", "labels", "--sampling", "0.7"), "--sampling"),
    ],
)
def test_what_would_say_nothing_is_refused(
    tmp_path: Path, data: Path, more: tuple[str, ...], where: str
) -> None:
    result = run(tmp_path, data, *more, *COLLECT)
    assert result.exit_code == 2, result.output
    assert f"Error: {where}: " in result.output


def test_contexts_weigh_the_same_however_often_they_are_read() -> None:
    lesson = Lesson(examples(9, questions=3), 500)
    teller = Teller(
        llama().float(), Sampled(draws=8), weights="w", tokenizer="t", precision="float32"
    )
    told = []
    for together in (True, False):
        each = Lesson(lesson.examples, 500, together=together)
        read: dict[tuple[int, ...], Any] = {}
        for row in each.rows(range(9)):
            said = teller.said(each, row, True)
            blocks = [row.tokens[start:end] for start, end in row.blocks]
            read |= {tuple(block): one for block, one in zip(blocks, said, strict=False)}
        taught = Lesson(
            [replace(example, read=read[tuple(example.beginning)]) for example in each.examples],
            500,
            together=together,
        )
        batch = batch_of(taught)
        told.append(taught.answers_to_contexts * len(batch["read_places"]) / len(batch["labels"]))
    assert told == pytest.approx([1.0, 1.0])


class Scripted(nn.Module):
    """A loss whose held-out values are given, step after step of checks."""

    def __init__(self, student: Any, values: list[float]) -> None:
        super().__init__()
        self.student, self.values, self.checks = student, values, 0

    def forward(self, labels: Any, normaliser: Any = None, **inputs: Any) -> Any:
        """0, or the next value."""
        nothing = 0 * sum(part.sum() for part in self.student.parameters())
        if self.training:
            return nothing
        self.checks += 1
        return nothing + self.values[self.checks - 1] * len(labels)


def scripted(tmp_path: Path, checks: int, cut_at: int | None = None) -> dict[str, Any]:
    """A run of ten steps whose held-out loss is least at the second check."""
    network = llama()
    loss = Scripted(network, [1.0, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8])
    loss.checks = checks
    lesson = Lesson(examples(12), 200, together=False)
    batches = Batches(lesson, lesson.rows(range(12)))

    def collator(rows: Any) -> Any:
        if rows[0][COLUMN] == cut_at:
            raise KeyboardInterrupt
        batch = batches(rows)
        return {LABELS: batch[LABELS]}

    course = Course(12, Schedule([[place] for place in range(2, 12)]), Schedule([[0, 1]]), [1] * 10)
    return language.run(network, loss, course, collator, recipe(lr=0.0), tmp_path / "c", {})


def test_patience_does_not_begin_anew_where_a_run_goes_on(tmp_path: Path) -> None:
    whole = scripted(tmp_path / "calm", 0)
    assert whole["steps"] == 2 + fitting.PATIENCE
    with pytest.raises(KeyboardInterrupt):
        scripted(tmp_path / "hard", 0, cut_at=6)
    again = scripted(tmp_path / "hard", 4)
    assert again["steps"] == whole["steps"]


def test_that_there_is_no_answer_is_learnt_where_it_is_known(tmp_path: Path, data: Path) -> None:
    path = data / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows[::2]:
        row |= {"answers": [], "answerable": False}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    save_answerer(tmp_path / "teacher")
    pairs = setup_of(tmp_path, data).train_pairs
    assert len(pairs) == 48
    for case, answer in pairs:
        assert answer == (REFUSAL if case.answerable is False else case.references[0])
