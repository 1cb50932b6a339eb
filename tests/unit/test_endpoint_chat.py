"""Replies: read with care, kept with how they ended, compared with what was said before, and priced."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_helpers import said
from ragdistill.endpoint import address
from ragdistill.endpoint.asking import estimate
from ragdistill.endpoint.chat import CHAT, Settings, conversations, parse
from ragdistill.endpoint.reply import Unusable
from ragdistill.endpoint.spend import Ask, OverBudget, Spend, Totals
from ragdistill.endpoint.wording import LEAST_ALIKE, alike, decode, difference, encode
from ragdistill.errors import UserError
from ragdistill.writing import Written, request_key


def body(*choices: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "choices": choices, **more}).encode()


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


@given(text=st.text(st.characters(codec="utf-8"), min_size=1), data=st.data())
def test_a_reply_is_read_and_a_piece_of_it_is_none(text: str, data: st.DataObject) -> None:
    whole = body(said(text), usage=USAGE)
    found = parse(whole, 256)
    assert found.found.written == Written(text)
    assert (found.found.model, found.tokens, found.written) == ("m", 13, 4)
    with pytest.raises(Unusable):
        parse(whole[: data.draw(st.integers(0, len(whole) - 1))], 256)


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (said("a", "length"), Written("a", "length")),
        (said("", "length"), Written("", "length")),  # all of it was thought
        (said("a", "max_tokens"), Written("a", "length")),
        (said("a", None), Written("a")),
        (said("a", "content_filter"), Written("a", "refused")),
        (said(None, refusal="no"), Written("", "refused")),
        (said("a", ["stop"]), Written("a")),  # type: ignore[arg-type]
        (said(None), Written("")),
        (said([{"type": "thinking"}, {"type": "text", "text": "a"}]), Written("a")),  # type: ignore[arg-type]
        (said("half \ud83d"), Written("half \N{REPLACEMENT CHARACTER}")),
    ],
)
def test_how_a_reply_ended_is_told(choice: Any, written: Written) -> None:
    assert parse(body(choice, usage=USAGE), 256).found.written == written


def test_a_server_that_gives_no_reason_has_written_to_the_end_or_to_the_limit() -> None:
    for most, ended in ((4, "length"), (5, "stop")):
        assert parse(body(said("a", None), usage=USAGE), most).found.written.ended == ended
    assert parse(body(said("a", "stop"), usage=USAGE), 4).found.written.ended == "stop"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"[]", "no JSON object"),
        (b'{"error": {"message": "no"}}', "no list of replies"),
        (body(), "0 of 1 replies"),
        (body(said("a"), said("b")), "2 of 1 replies"),
        (body("a"), "no list of replies"),
        (body({"text": "a"}), "no message"),
        (body(said(3)), "no text"),  # type: ignore[arg-type]
        (body(said(["a"])), "no text"),  # type: ignore[arg-type]
        (body(said([{"type": "text"}])), "no text"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_reply_is_said(told: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        parse(told, 256)


def test_nothing_is_taken_for_a_reply_the_last_time_only_and_was_billed() -> None:
    with pytest.raises(Unusable, match="says nothing") as refused:
        parse(body(said(" "), usage=USAGE), 256, last=False)
    assert (refused.value.tokens, refused.value.written) == (13, 4)
    assert parse(body(said(" ")), 256).found.written.fault == "empty"


@given(
    text=st.text(st.sampled_from("a\n \x1estoplength") | st.characters(codec="utf-8")),
    ended=st.sampled_from(["stop", "length", "refused"]),
)
def test_what_is_kept_is_what_was_written(text: str, ended: Any) -> None:
    written = Written(text, ended)
    assert Written.of(written.kept()) == written
    if ended == "stop" and "\x1e" not in text:
        assert written.kept() == text


def test_a_request_is_known_by_all_that_it_says() -> None:
    def key(*messages: tuple[str, str]) -> bytes:
        return request_key([{"role": role, "content": content} for role, content in messages])

    ways = [
        [("user", "a"), ("user", "b")],
        [("user", "ab")],
        [("system", "ab")],
        [("user", "b"), ("user", "a")],
        [("user", 'a"},{"role":"user","content":"b')],
        [("user", "a\ud800")],
    ]
    assert len({key(*way) for way in ways}) == len(ways)
    assert request_key([{"content": "ab", "role": "user"}]) == key(("user", "ab"))


def test_a_request_is_never_thought_smaller_than_it_can_be() -> None:
    settings = Settings(max_tokens=7)
    (request,) = conversations([[{"role": "user", "content": "é\ud800"}]], settings)
    told = '[{"role": "user", "content": "é\N{REPLACEMENT CHARACTER}"}]'
    assert request.texts == [told]
    size = len(told.encode())
    assert request.ask == Ask(1, estimate(told) + 7, size + 4 + 7, 7)


def test_openai_is_told_a_limit_by_its_new_name_and_others_by_the_old() -> None:
    for url, name in (
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://notopenai.com/v1", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
    ):
        told = Settings(max_tokens=7).wish(address.parse(CHAT, "openai:m", url))
        assert told == {name: 7, "temperature": 0.0}


SAID = ["The harbour lies dark, and one lamp burns.", "Ein Vertrag bindet beide.", "é"]


def test_a_model_is_known_by_what_it_is_called_and_how_it_goes_on() -> None:
    known = encode("tiny", SAID)
    assert decode(known) == ("tiny", SAID)
    assert decode(encode("", ["", "\U0010ffff"])) == ("", ["", "\U0010ffff"])
    assert difference(known, known) is None
    assert "calls itself 'other', and was 'tiny'" in (
        difference(known, encode("other", SAID)) or ""
    )
    later = encode("tiny", [SAID[0][:32] + " all is dark.", *SAID[1:]])  # beyond what counts
    assert difference(known, later) is None
    assert "otherwise" in (difference(known, encode("tiny", ["A", "B", "é"])) or "")
    assert difference(known, encode("tiny", ["", "", ""])) is None  # nothing to compare
    assert alike(["ab", "cd"], ["ab", "cx"]) == 0.75
    other = encode("tiny", [SAID[0], "E" + "x" * 30, SAID[2]])
    assert alike(SAID, decode(other)[1]) < LEAST_ALIKE
    assert difference(known, other) is not None


@pytest.mark.parametrize("odd", ["", "a", "1,2,3", "-1", "1,-2", "nan", "inf", "1;2", ","])
def test_what_is_no_price_is_refused(tmp_path: Path, odd: str) -> None:
    with pytest.raises(UserError, match=r"--teacher-price: .* is not a price, or two"):
        Spend(tmp_path / "spend.sqlite", price=odd, budget=None)


def test_what_is_read_and_what_is_written_cost_what_they_cost(tmp_path: Path) -> None:
    def spent(price: str = "1,4", budget: float = 100e-6) -> Spend:  # 100 tokens read, 25 written
        return Spend(tmp_path / "spend.sqlite", price=price, budget=budget)

    first = spent()
    with pytest.raises(OverBudget):
        first.reserve(Ask(1, 20, 41, 20))  # 21 + 80
    first.settle(first.reserve(Ask(1, 20, 40, 20)), 30, 0.5, written=10)
    assert first.totals() == Totals(1, 1, 30, (0.5,), 10)
    assert first.usd(30, 10) == pytest.approx(60e-6)
    spent().reserve(Ask(1, 10, 40, 0))
    with pytest.raises(OverBudget):
        spent().reserve(Ask(1, 1, 1, 0))  # the other may live
    assert spent(price="1").usd(30, 10) == pytest.approx(30e-6)
    # One that writes more than it was told to may do so again; one that reads less, too.
    other = Spend(tmp_path / "other.sqlite", price="0,1", budget=100e-6)
    other.settle(other.reserve(Ask(1, 20, 110, 10)), 35, written=30)
    with pytest.raises(OverBudget):
        other.reserve(Ask(1, 20, 110, 24))
    other.reserve(Ask(1, 20, 110, 23))


def test_a_count_of_before_anything_was_written_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "spend.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE requests (id INTEGER PRIMARY KEY, session TEXT NOT NULL, texts INTEGER NOT NULL,"
            " estimate INTEGER NOT NULL, most INTEGER NOT NULL, begun REAL NOT NULL, tokens INTEGER,"
            " seconds REAL)"
        )
        old.execute("INSERT INTO requests VALUES (1, 'a', 2, 10, 20, 0, 15, 0.5)")
    old.close()
    spend = Spend(path, price="1,4", budget=None)
    assert spend.totals() == Totals(1, 2, 15, (0.5,))
    spend.settle(spend.reserve(Ask(1, 5, 9, 2)), 7, written=2)
    assert spend.totals() == Totals(2, 3, 22, (0.5,), 2)
