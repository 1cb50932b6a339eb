"""Replies that reason: how they are read, and which of them are believed."""

from dataclasses import replace
from fractions import Fraction

import pytest
from benchmarks.toy_shop import shops
from hypothesis import given
from hypothesis import strategies as st

from ragdistill.writing import Written
from ragdistill_generator.arithmetic import numbers, sums, unfounded, without_results
from ragdistill_generator.cases import Case
from ragdistill_generator.reasoning import UNREADABLE, Reasoned, final, parse, right, sift

CASE = Case(
    "q",
    "What do all figs cost?",
    ("Figs cost 4 coins each. There are 7 figs in the shop.", "Nuts cost 3 coins each."),
    ("28 coins",),
)
GOOD = Reasoned("Figs cost 4 coins each, and there are 7 figs: 4 * 7 = 28 coins.", "28 coins")
UNKNOWN = replace(CASE, references=())


def believed(said: Reasoned, case: Case = CASE, *, support: float = 0.5, f1: float = 0.5) -> object:
    (found,) = sift([(case, Written(said.text))], support=support, least_f1=f1)
    return found


@given(st.text(), st.text())
def test_what_is_written_is_read(thinking: str, answer: str) -> None:
    tags = ("<thinking>", "</thinking>", "<answer>", "</answer>")
    said = Reasoned(thinking.strip(), answer.strip())
    if any(tag in thinking + answer for tag in tags):
        return
    whole = said.thinking and said.answer
    assert parse(Written(said.text)) == (said if whole else "empty")
    assert final(said.text) == (said.answer if whole else UNREADABLE)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("28", "malformed"),
        ("<answer>28</answer>", "malformed"),
        ("<thinking>a</thinking>28", "malformed"),
        ("<thinking>a</thinking><answer>28", "truncated"),
        ("<thinking>a, b and", "truncated"),
        ("<answer>28</answer><thinking>a</thinking>", "malformed"),
        ("<thinking>a</thinking><answer>1</answer><answer>2</answer>", "malformed"),
        ("<thinking>a<thinking>b</thinking></thinking><answer>1</answer>", "malformed"),
        ("Sure! <thinking>a</thinking><answer>1</answer>", "malformed"),
        ("<thinking>a</thinking> so <answer>1</answer>", "malformed"),
        ("<thinking>a</thinking><answer>1</answer> Any more?", "malformed"),
        ("<Thinking>a</Thinking><answer>1</answer>", "malformed"),
        ("<thinking> </thinking><answer>1</answer>", "empty"),
        ("<thinking>a</thinking><answer>\n</answer>", "empty"),
    ],
)
def test_what_is_not_one_reasoning_and_one_answer_is_neither(text: str, fault: str) -> None:
    assert parse(Written(text)) == fault
    assert final(text) == UNREADABLE


def test_how_a_reply_ended_counts() -> None:
    assert parse(Written("so far, so", "length")) == "truncated"
    assert parse(Written("", "refused")) == "refused"
    assert parse(Written(GOOD.text, "length")) == GOOD  # the limit fell on its end


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (replace(GOOD, thinking="Apples grow in Kent, as everybody there knows: 28 coins."), "unsupported"),
        (replace(GOOD, thinking="Figs cost 4 coins each, there are 8 figs, 28 coins."), "unsupported"),
        (replace(GOOD, thinking="Figs cost 4 coins, 7 figs: 4 * 7 = 27, about 28 coins."), "miscalculated"),
        (replace(GOOD, answer="30 coins"), "inconsistent"),
        (replace(GOOD, answer="28 pounds of silver"), "inconsistent"),
        (replace(GOOD, thinking="The context does not say it."), "inconsistent"),
        (replace(GOOD, thinking="Figs cost 4 coins, and 4 + 7 = 11 coins.", answer="11 coins"), "wrong"),
        (replace(GOOD, answer="I don't know."), "wrong"),
        (replace(GOOD, thinking=f"{GOOD.thinking} 28 - 1 = 27 figs.", answer="27 coins"), "wrong"),
        (replace(GOOD, answer="all of the 28 coins each that figs cost"), "wrong"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_not_learnt(said: Reasoned, fault: str) -> None:
    assert believed(said) == fault
    assert believed(GOOD) == GOOD


def test_floors_are_those_that_are_given() -> None:
    half = replace(GOOD, thinking="Figs cost coins, as Kentish farmers whisper, so 4 * 7 = 28.")
    assert believed(half, support=0.4) == half
    assert believed(half, support=0.9) == "unsupported"
    wordy = replace(GOOD, answer="28 coins in all for figs")
    assert believed(wordy, f1=0.5) == wordy
    assert believed(wordy, f1=0.7) == "wrong"


def test_a_refusal_is_right_where_there_is_no_answer() -> None:
    said = Reasoned("The context does not say what pears cost.", "I don't know.")
    assert believed(said, replace(UNKNOWN, answerable=False)) == said
    assert believed(GOOD, replace(UNKNOWN, answerable=False)) == "wrong"
    assert believed(said, UNKNOWN) == said
    assert right("28", UNKNOWN, 0.5) is None


def test_the_same_reasoning_teaches_once() -> None:
    pairs = [(CASE, Written(GOOD.text)), (CASE, Written(GOOD.text)), (replace(CASE, id="o"), Written(GOOD.text))]  # fmt: skip
    assert sift(pairs, support=0.5, least_f1=0.5) == [GOOD, "repeated", GOOD]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 99))
def test_sums_are_worked_out(one: int, other: int, third: int) -> None:
    total = one + other * third
    assert list(sums(f"so {one:,} + {other} \u00d7 {third} = {total:,}.")) == [True]
    assert list(sums(f"so {one} + {other} * {third} = {total + 1}, I think")) == [False]
    assert list(sums(f"{one} / {third} = {one / third:.2f}")) == [True]
    assert numbers(f"{total:,}.50 and {total}.5") == [total + 0.5] * 2


def test_numbers_come_from_somewhere() -> None:
    held = ["Seven figs at 4 coins.", "After 3 more?"]
    assert not unfounded(
        "1. 7 figs\n2) step 3: 7 + 3 = 10\nContext 9: 10 * 4 = 40, half: 40 / 2 = 20", held
    )
    assert unfounded("8 figs at 4.50 and 3 at 1,000", held) == {8, Fraction(9, 2), 1000}


def test_what_is_no_sum_is_none() -> None:
    assert not list(sums("from 2010-2012, v1.2 = new, x4 * 7 = 3, 4 coins * 7 = 28"))
    assert list(sums("8 / 0 = 0")) == [False]
    assert without_results("4 * 7 = 28 and 28 + 2 = 30 of 4") == "4 * 7 =  and  + 2 =  of 4"


def test_the_toy_set_says_what_is_so() -> None:
    splits = {split: list(shops(split, 40, 8, seed=0)) for split in ("train", "test")}
    for text, asked in (shop for found in splits.values() for shop in found):
        for item in asked:
            case = Case("q", item.text, (text,), (item.answer,))
            said = Reasoned(item.rationale, item.answer)
            assert believed(said, case) == said
            assert len(list(sums(item.rationale))) >= 2
    numbers_of = [
        {item.numbers for _, asked in found for item in asked} for found in splits.values()
    ]
    assert all(numbers_of)
    assert not numbers_of[0] & numbers_of[1]
