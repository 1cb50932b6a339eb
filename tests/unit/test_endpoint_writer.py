"""A language model over HTTP: what is stored is right and paid for once, whatever goes wrong on the way."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_helpers import Chat, asked, chatting, reply, said, words
from endpoint_helpers import seeded
from ragdistill.endpoint import client
from ragdistill.endpoint.chat import EMPTY_TRIES, Settings, conversations
from ragdistill.endpoint.wording import PROBES
from ragdistill.endpoint.writer import EndpointWriter
from ragdistill.errors import UserError
from ragdistill.signals.store import SignalStore, Space
from ragdistill.writing import Collected, Written, collect, faults, stored

KEY = "sk-test-4f1b9c"
REQUESTS = asked(60)
ASKED = [messages[-1]["content"] for messages in REQUESTS]
SETTINGS = Settings(max_tokens=40)
FAULTS = {"429": 0.1, "500": 0.05, "stall": 0.03, "garbage": 0.05, "truncated": 0.05,
          "broken": 0.04, "short": 0.05, "shape": 0.05, "empty": 0.05}  # fmt: skip


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def served() -> Iterator[Chat]:
    with chatting(key=KEY) as endpoint:
        yield endpoint


Made = Callable[..., EndpointWriter]


@pytest.fixture
def made(served: Chat, tmp_path: Path) -> Made:
    """Makes writers as commands one after the other would."""

    def make(settings: Settings = SETTINGS, **options: Any) -> EndpointWriter:
        told = {"url": served.url, "store": str(tmp_path / "store")} | options
        return EndpointWriter("openai:tiny", settings=settings, **told)

    return make


def opened(writer: EndpointWriter, folder: Path) -> Space:
    store = SignalStore(folder / "store")
    return store.space(writer.fingerprint(), teacher=writer.known_as, accept_change=True)


def gathered(writer: EndpointWriter, folder: Path, requests: Any = REQUESTS) -> Collected:
    return collect(writer, requests, opened(writer, folder))


def test_a_faulty_endpoint_ends_with_every_reply_right_and_none_paid_twice(
    served: Chat, made: Made, tmp_path: Path
) -> None:
    fault = served.fault = seeded(2, FAULTS)
    writer = made(timeout=2.0)
    done = gathered(writer, tmp_path)
    served.rest()
    assert done.replies == len(REQUESTS)
    found = stored(opened(writer, tmp_path), REQUESTS)
    assert found == [Written(words(content)) for content in ASKED]
    hit = {fault(number) for number in range(1, served.requests + 1)}
    assert hit >= set(FAULTS), "the seed injects too little"
    assert served.delivered == dict.fromkeys([*ASKED, *PROBES], 1)
    assert writer.describe()["endpoint"]["tokens"] >= done.tokens
    sent = served.requests
    assert gathered(made(), tmp_path) == Collected(0, 0)
    assert served.requests == sent


def test_replies_that_teach_nothing_are_told_apart_and_paid_once(
    served: Chat, made: Made, tmp_path: Path
) -> None:
    kinds: dict[str, Any] = {
        ASKED[0]: said("half of a", "length"),
        ASKED[1]: said(None, refusal="I can't help with that."),
        ASKED[2]: said("some of it", "content_filter"),
        ASKED[3]: said(" \n"),
    }
    served.reply = lambda content: kinds.get(content) or reply(content)
    declined = len(PROBES) + 3 + EMPTY_TRIES + 1
    served.fault = lambda number: "declined" if number == declined else None
    assert gathered(made(concurrency=1), tmp_path).replies == len(REQUESTS)
    found = stored(opened(made(), tmp_path), REQUESTS)
    assert found[:6] == [
        Written("half of a", "length"),
        Written("", "refused"),
        Written("some of it", "refused"),
        Written(" \n"),
        Written("", "refused"),
        Written(words(ASKED[5])),
    ]
    assert faults(found) == {"length": 1, "refused": 3, "empty": 1}
    served.rest()
    assert served.delivered[ASKED[3]] == EMPTY_TRIES
    sent = served.requests
    assert gathered(made(), tmp_path) == Collected(0, 0)
    assert served.requests == sent


def test_requests_go_out_as_they_are_several_at_a_time(served: Chat, made: Made) -> None:
    served.hold_after = len(PROBES)
    writer = made(Settings(temperature=0.7, max_tokens=9, seed=3, stop=("\n\n",)), concurrency=3)

    def release() -> None:
        until = time.monotonic() + 30
        while served.busy < 3 and time.monotonic() < until:
            time.sleep(0.01)
        served.hold.set()

    threading.Thread(target=release).start()
    found = list(writer.write(REQUESTS))
    assert served.most_busy == 3
    probes, wishes = served.wishes[: len(PROBES)], served.wishes[len(PROBES) :]
    told = {"model": "tiny", "temperature": 0.7, "max_tokens": 9, "seed": 3, "stop": ["\n\n"]}
    for wish in wishes:
        assert wish.pop("messages") in REQUESTS
        assert wish == told
    assert {(wish["temperature"], wish["seed"], "stop" in wish) for wish in probes} == {
        (0, 0, False)
    }
    assert sorted(place for places, _, _ in found for place in places) == list(range(len(REQUESTS)))
    for (place,), texts, tokens in found:
        assert texts == [words(ASKED[place])]
        assert tokens == served.count([ASKED[place]])


@pytest.mark.parametrize("bills", [1.0, 30.0])  # as it was told to, and not caring for max_tokens
def test_what_is_written_has_a_price_of_its_own_and_the_budget_is_kept(
    served: Chat, made: Made, tmp_path: Path, bills: float
) -> None:
    served.fault, served.bills = seeded(2, {"short": 0.1, "500": 0.1}), bills
    price, many = "2000,100000", asked(100)
    before = 0.0
    for budget in (20.0 * bills, 41.0 * bills):
        writer = made(price=price, budget=budget)
        with pytest.raises(UserError, match=f"the budget of {budget} USD"):
            gathered(writer, tmp_path, many)
        served.rest()
        spent = ((served.billed - served.written) * 2000 + served.written * 100_000) / 1e6
        assert writer.spent == pytest.approx(spent)
        # Not over it, but up to it: a reply may have 40 tokens, and what was billed at the worst.
        assert before < budget - 6.0 * bills < spent <= budget
        before = spent
    assert writer.describe()["endpoint"]["usd"] == pytest.approx(spent)
    gathered(made(price=price, budget=10_000.0), tmp_path, many)
    served.rest()
    for probe in PROBES:  # asked whenever collection goes on
        assert served.delivered.pop(probe) == 3
    assert served.delivered == dict.fromkeys([item[-1]["content"] for item in many], 1)


def test_a_plan_asks_for_nothing(served: Chat, made: Made) -> None:
    writer = made(price="1,10")
    told = writer.forecast(REQUESTS)
    assert told.written == len(REQUESTS) * SETTINGS.max_tokens
    assert told.tokens == sum(request.ask.estimate for request in conversations(REQUESTS, SETTINGS))
    assert writer.usd(told.tokens, told.written) == pytest.approx(
        ((told.tokens - told.written) + 10 * told.written) / 1e6
    )
    assert served.requests == 0


def test_the_key_is_told_nowhere(
    served: Chat,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    gathered(made(price=1.0), tmp_path, REQUESTS[:9])
    monkeypatch.setenv("WRONG_KEY", wrong := "sk-wrong-77aa")
    with pytest.raises(UserError, match=r"does not take the key in WRONG_KEY") as refused:
        gathered(made(key_env="WRONG_KEY"), tmp_path)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    for secret in (KEY, wrong):
        assert secret not in caplog.text + refused.value.format_message()
        assert not [content for content in written if secret.encode() in content]


def test_an_endpoint_that_has_changed_is_refused_or_begins_anew(
    served: Chat, made: Made, tmp_path: Path
) -> None:
    first = made()
    gathered(first, tmp_path, REQUESTS[:20])
    served.reply = lambda content: said(words(content, seed=1))
    assert gathered(made(), tmp_path, REQUESTS[:20]).replies == 0  # nothing has to be asked
    with pytest.raises(UserError, match=r"'tiny' is not the model .* words its replies otherwise"):
        gathered(made(), tmp_path)
    late = made(accept_change=True)
    with pytest.raises(UserError, match="give the same command again"):
        gathered(late, tmp_path)  # its space was open before it was met
    accepted = made()
    accepted.meet(lambda: True)
    assert accepted.digest != first.digest
    assert gathered(accepted, tmp_path).replies == len(REQUESTS)
    assert stored(opened(accepted, tmp_path), REQUESTS) == [
        Written(words(content, seed=1)) for content in ASKED
    ]
    served.reply = reply  # the former is back, and known
    back = made()
    back.meet(lambda: True)
    assert back.fingerprint() == first.fingerprint()
    assert gathered(back, tmp_path).replies == len(REQUESTS) - 20


def test_a_model_whose_replies_are_drawn_is_known_by_what_it_is_called(
    served: Chat, made: Made, tmp_path: Path
) -> None:
    drawn = Settings(temperature=None, max_tokens=40)
    gathered(made(drawn), tmp_path, REQUESTS[:5])
    assert "temperature" not in served.wishes[-1]
    served.reply = lambda content: said(words(content, seed=1))
    gathered(made(drawn), tmp_path, REQUESTS[:9])
    gathered(made(), tmp_path, REQUESTS[:9])  # it was never held to what it says
    served.called = "tiny-2024"
    with pytest.raises(UserError, match="calls itself 'tiny-2024', and was 'tiny'"):
        gathered(made(drawn), tmp_path)


def test_another_model_in_the_midst_of_it_ends_it(served: Chat, made: Made, tmp_path: Path) -> None:
    def renamed(number: int) -> None:
        served.called = "tiny" if number < 30 else "tiny-2024"

    served.fault = renamed
    with pytest.raises(UserError, match="calls itself 'tiny-2024' now, and was 'tiny'"):
        gathered(made(), tmp_path)
    served.fault, served.called = (lambda number: None), "tiny"
    assert 0 < gathered(made(), tmp_path).replies < len(REQUESTS)


def test_other_settings_and_other_templates_are_other_replies(made: Made, tmp_path: Path) -> None:
    several = [
        SETTINGS,
        Settings(max_tokens=41),
        Settings(max_tokens=40, seed=1),
        Settings(max_tokens=40, temperature=1.0),
        Settings(max_tokens=40, stop=("\n",)),
        Settings(max_tokens=40, template="ab12"),
    ]
    assert len({made(settings).fingerprint().id for settings in several}) == len(several)
    assert gathered(made(), tmp_path, REQUESTS[:3]).replies == 3
    assert gathered(made(several[-1]), tmp_path, REQUESTS[:3]).replies == 3


def test_what_is_too_long_ends_it_and_keeps_what_was_answered(
    served: Chat, made: Made, tmp_path: Path
) -> None:
    served.fault = lambda number: "400" if number == 30 else None
    with pytest.raises(
        UserError, match=r"\(status 400: not now\); if it is too long for the model"
    ):
        gathered(made(), tmp_path)
    served.fault = lambda number: None
    assert 0 < gathered(made(), tmp_path).replies < len(REQUESTS)
    served.rest()
    assert {served.delivered[content] for content in ASKED} == {1}


@pytest.mark.parametrize(
    ("fault", "why"),
    [("garbage", "whole JSON"), ("short", "0 of 1 replies"), ("shape", "holds no message")],
)
def test_what_stays_wrong_is_given_up_with_one_line(
    served: Chat, made: Made, tmp_path: Path, fault: str, why: str
) -> None:
    served.fault = lambda number: fault if number > len(PROBES) else None
    with pytest.raises(UserError, match=rf"\(10 tries\): the last .* {why}"):
        gathered(made(), tmp_path, REQUESTS[:1])


_COLLECT = """
import json, sys
from ragdistill.endpoint.chat import Settings
from ragdistill.endpoint.writer import EndpointWriter
from ragdistill.signals.store import SignalStore
from ragdistill.writing import collect

url, folder, requests = sys.argv[1:]
writer = EndpointWriter("openai:tiny", url, Settings(max_tokens=40), store=folder, price=1.0, concurrency=3)
writer.meet(lambda: True)
space = SignalStore(folder).space(writer.fingerprint(), teacher=writer.known_as)
print(collect(writer, json.loads(requests), space).replies)
"""


def test_kill_9_pays_for_no_reply_twice(served: Chat, made: Made, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        _COLLECT,
        served.url,
        str(tmp_path / "store"),
        json.dumps(REQUESTS),
    ]
    told = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for after in (len(PROBES) + 11, 2 * len(PROBES) + 29):
        served.hold.clear()
        served.hold_after = after  # the rest waits, and is never answered
        killed = subprocess.Popen(command, env=told)
        try:
            until = time.monotonic() + 60
            while (served.answered < after or served.busy < 3) and time.monotonic() < until:
                time.sleep(0.02)
            time.sleep(0.3)  # what was answered is stored by now
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        served.fault = lambda number: "500"
        served.hold.set()
        served.rest()
        served.fault = lambda number: None
    served.hold_after = None
    paid = sum(served.delivered[content] for content in ASKED)
    done = subprocess.run(command, env=told, check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(REQUESTS) - paid
    served.rest()
    assert {served.delivered[content] for content in ASKED} == {1}
    writer = made()
    assert stored(opened(writer, tmp_path), REQUESTS) == [Written(words(c)) for c in ASKED]
