"""Tokens that end an answer and are ordinary words of it, too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from answer_helpers import answering, run, save_answerer
from other_tokens import save_other
from ragdistill.causal import reply_text
from ragdistill.errors import UserError
from ragdistill.local_writer import LocalWriter
from ragdistill.models.resolve import resolve
from ragdistill.writing import Written
from ragdistill_generator import evaluation
from ragdistill_generator.cases import Case
from ragdistill_generator.prompts import Prompter
from ragdistill_generator.reading import Reading
from ragdistill_generator.student import Student
from ragdistill_generator.translating import Translation
from tiny_models import WORDS, make_tokenizer

RIVER = make_tokenizer().convert_tokens_to_ids("river")
END = 3  # [SEP]


def reading(folder: Path, ends: list[int]) -> Reading:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Reading(tokenizer, Prompter(tokenizer, 512, 16, "short"), ends, 16, 512)


def end_by(folder: Path, ends: list[int]) -> Path:
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.generation_config.eos_token_id = ends
    network.save_pretrained(folder)
    return folder


def test_only_what_marks_an_end_is_left_out_of_a_reply() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<over>"])
    over = tokenizer.convert_tokens_to_ids("<over>")
    red, old = tokenizer.convert_tokens_to_ids(["red", "old"])
    for reply, ends, said in (
        ([red, END], [END, RIVER], "red"),
        ([red, RIVER], [END, RIVER], "red river"),
        ([red, RIVER], [RIVER, END], "red"),
        ([RIVER], [END, RIVER], "river"),
        ([red, over], [END, over], "red"),
        ([red, old], [END, RIVER], "red old"),
        ([], [END], ""),
    ):
        assert reply_text(tokenizer, reply, ends).strip() == said


def test_a_student_says_what_the_teacher_says_in_the_same_tokens(tmp_path: Path) -> None:
    folder = save_answerer(tmp_path / "model")
    student = Student.load(folder, "cpu")
    prompter = Prompter(student.tokenizer, 512, 12, "short")
    cases = [Case(word, f"what {word}?", (f"the {word} is old",)) for word in WORDS[15:45]]
    ours = evaluation.answer(student, prompter, cases, 12)
    writer = LocalWriter(resolve(str(folder)), "cpu", "float32", template="t", new_tokens=12)
    theirs = [""] * len(cases)
    for places, texts, _ in writer.write([prompter.messages(case) for case in cases]):
        for place, text in zip(places, texts, strict=True):
            theirs[place] = Written.of(text).text.strip()
    assert ours == theirs
    assert all(ours)


def test_an_answer_that_ends_by_its_own_word_ends_once(tmp_path: Path) -> None:
    told = reading(save_answerer(tmp_path / "model"), [RIVER])
    red = told.written("red")
    assert red[-1] == RIVER
    assert told.written("red river") == red
    assert told.whole("red river")
    told.check_ends(["red", "red river"], tmp_path)
    for text in ("the river is red", "river"):
        with pytest.raises(UserError, match=r"1 of 2 answers hold the token 'river' \(\d+\)"):
            told.check_ends(["red", text], tmp_path)
    replace(told, ends=[]).check_ends(["the river is red"], tmp_path)
    replace(told, ends=[END, RIVER]).check_ends(["the river is red"], tmp_path)


def test_answers_that_hold_their_end_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    end_by(save_answerer(tmp_path / "teacher"), [RIVER])
    data = answering(tmp_path / "data")
    path = data / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    told = (json.dumps(row | {"answers": ["the river is red"]}) + "\n" for row in rows)
    path.write_text("".join(told), encoding="utf-8")
    result = run(tmp_path, data, "--stages", "collect")
    assert result.exit_code == 2, result.output
    assert "teacher: 48 of 48 answers hold the token 'river'" in result.output
    assert "eos_token_id" in result.output
    assert not (tmp_path / "run/run.json").exists()


def test_a_word_that_ends_answers_stays_a_word_in_other_tokens(tmp_path: Path) -> None:
    theirs = reading(save_answerer(tmp_path / "teacher"), [END, RIVER])
    ours = reading(save_other(tmp_path / "other"), [1])
    shared = Translation(theirs, ours).shared
    assert shared[END] == 1
    assert shared[RIVER] == ours.tokenizer.convert_tokens_to_ids("river")
