"""The pieces of any teacher over HTTP: addresses, the count of money, requests in parallel, its records."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest

from ragdistill.endpoint import address
from ragdistill.endpoint.address import Service
from ragdistill.endpoint.asking import Request, ask_all, requests
from ragdistill.endpoint.client import retry_after
from ragdistill.endpoint.identity import Records, digest
from ragdistill.endpoint.spend import Ask, OverBudget, Spend, Totals
from ragdistill.errors import UserError
from ragdistill.files import sha256_json
from ragdistill.signals.places import place

EMBEDDINGS = Service("openai:", "/embeddings", model="some", url="https://host/v1")


def test_one_address_is_one_however_it_is_written() -> None:
    ways = (
        "https://Host/v1",
        "https://host/v1/",
        "HTTPS://host:443/v1",
        " https://host/v1/embeddings",
    )
    assert {address.parse(EMBEDDINGS, "openai:m", way).url for way in ways} == {"https://host/v1"}
    others = ("http://host/v1", "https://host:444/v1", "https://host/v2", "http://[::1]:80/v1")
    found = [address.parse(EMBEDDINGS, "openai:a/b:c", way) for way in others]
    assert len({item.url for item in found}) == 4
    assert found[3].url == "http://[::1]/v1"
    assert {item.model for item in found} == {"a/b:c"}


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "https://", "https:///v1", "file:///v1", "http://ho st/v1", "http://[1/v1"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="--teacher-url"):
        address.parse(EMBEDDINGS, "openai:m", url)


def test_when_to_come_back() -> None:
    assert retry_after("2.5") == 2.5
    assert 25 < retry_after(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert [retry_after(odd) for odd in (None, "", "soon", "-3", "inf", "nan")] == [0.0] * 6
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0.0


def spent(path: Path, *, budget: float | None = None, price: float | None = 1.0) -> Spend:
    return Spend(path / "spend.sqlite", price=price, budget=budget)


def test_money_is_counted_to_the_token_and_remembered(tmp_path: Path) -> None:
    first = spent(tmp_path, budget=0.13, price=0.13)  # a million tokens exactly
    assert first.totals() == Totals(0, 0, 0, ())
    first.settle(first.reserve(Ask(1, 10, 20)), 0)
    assert not list(tmp_path.iterdir())  # nothing was answered, nothing is written
    first.settle(first.reserve(Ask(2, 900_000, 1_000_000)), 999_000, 0.5)
    again = spent(tmp_path, budget=0.13, price=0.13)
    assert again.totals() == Totals(1, 2, 999_000, (0.5,))
    with pytest.raises(OverBudget):
        again.reserve(Ask(1, 1, 1001))
    again.settle(again.reserve(Ask(1, 900, 1000)), 1000)
    with pytest.raises(OverBudget):
        again.reserve(Ask(1, 1, 1))
    assert "0.130000 USD are spent" in again.refusal().format_message()
    assert spent(tmp_path, price=None).usd(5) is None
    (tmp_path / "spend.sqlite").write_bytes(b"no database" * 99)
    with pytest.raises(
        UserError, match=r"spend.sqlite: the record of what was spent cannot be kept"
    ):
        again.reserve(Ask(1, 1, 1))
    with pytest.raises(UserError, match=r"if it is damaged, remove it"):
        again.totals()


def test_requests_under_way_count_as_much_as_they_may_and_those_of_the_dead_as_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = spent(tmp_path)
    first.settle(first.reserve(Ask(1, 1, 1)), 1)
    living, other = spent(tmp_path, budget=0.001), spent(tmp_path, budget=0.001)  # 1,000 tokens
    living.reserve(Ask(1, 100, 900))
    with pytest.raises(OverBudget):
        living.reserve(Ask(1, 10, 100))
    with pytest.raises(OverBudget):
        other.reserve(Ask(1, 100, 899))  # of a process that may live
    monkeypatch.setattr("ragdistill.endpoint.spend._LONGEST_SECONDS", -1.0)
    other.reserve(Ask(1, 100, 899))
    assert other.totals().tokens == 101


def test_a_server_that_bills_more_than_seemed_possible_is_met_with_more_care(
    tmp_path: Path,
) -> None:
    spend = spent(tmp_path, budget=0.001)
    spend.settle(spend.reserve(Ask(1, 10, 100)), 300)
    spend.reserve(Ask(1, 10, 200))
    with pytest.raises(OverBudget):
        spend.reserve(Ask(1, 10, 40))


def test_threads_never_reserve_more_than_there_is(tmp_path: Path) -> None:
    spend = spent(tmp_path, budget=0.0001)  # 100 tokens
    spend.settle(spend.reserve(Ask(1, 1, 1)), 1)
    refused = deque[int]()

    def work() -> None:
        for _ in range(10):
            try:
                spend.settle(spend.reserve(Ask(1, 1, 3)), 2)
            except OverBudget:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert 90 <= spend.totals().tokens <= 100


def asked(
    ask: Callable[[Request], str], size: int = 2, connections: int = 3
) -> tuple[list[int], BaseException | None]:
    """Places that were answered, and how it ended."""
    texts = [str(number) for number in range(10)]
    found: list[int] = []
    try:
        for request, _ in ask_all(
            requests(texts, [1] * 10, size),
            ask,
            connections=connections,
            stop=lambda: None,
            over_budget=lambda: UserError("too dear"),
        ):
            found += request.places
    except (UserError, KeyboardInterrupt) as error:
        return sorted(found), error
    return sorted(found), None


def test_every_request_is_answered_by_so_many_at_a_time() -> None:
    busy, most, lock = 0, 0, threading.Lock()
    full = threading.Barrier(3)

    def ask(request: Request) -> str:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        if request.places[0] < 6:
            full.wait(30)
        with lock:
            busy -= 1
        return ""

    assert asked(ask) == (list(range(10)), None)
    assert most == 3


@pytest.mark.parametrize("failure", [UserError("no"), KeyboardInterrupt()])
def test_what_was_under_way_when_one_failed_is_not_lost(failure: BaseException) -> None:
    failed = threading.Event()

    def ask(request: Request) -> str:
        if request.places[0] == 2:
            failed.set()
            raise failure
        assert failed.wait(30)
        return ""

    assert asked(ask) == ([0, 1, 4, 5], failure)


def test_ctrl_c_waits_for_what_is_under_way() -> None:
    # A shell that starts something in the background has it ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def ask(request: Request) -> str:
        time.sleep(0.3)  # until the main thread waits
        if request.places[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        return ""

    try:
        found, ended = asked(ask)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [0, 1, 2, 3, 4, 5]
    assert isinstance(ended, KeyboardInterrupt)


def test_the_last_of_the_money_is_spent_in_smaller_requests() -> None:
    left, lock = 7, threading.Lock()

    def ask(request: Request) -> str:
        nonlocal left
        with lock:
            if len(request.texts) > left:
                raise OverBudget
            left -= len(request.texts)
        return ""

    found, ended = asked(ask, size=4)
    assert len(found) == 7
    assert isinstance(ended, UserError)


def test_a_request_is_never_thought_smaller_than_it_can_be() -> None:
    (request,) = requests(["é" * 10, ""], [500, 2], 2)
    assert request.ask == Ask(2, 28, 28)
    first, second = request.halves()
    assert [first.places, second.places] == [[0], [1]]


@pytest.mark.parametrize("remote", [False, True])
def test_generations_are_kept_in_the_store_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    monkeypatch.setenv("RAGDISTILL_HOME", str(tmp_path / "home"))
    store = place("memory://endpoints" if remote else tmp_path / "store")
    records = Records(store, address.parse(EMBEDDINGS, "openai:m", "https://host/v1"), "vectors")
    assert records.generations() == []
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(2, 8)).astype(np.float32) for _ in range(2)]
    for number, item in enumerate(vectors, 1):
        records.begin(number, ("a", "b"), item)
    monkeypatch.setenv("RAGDISTILL_HOME", str(tmp_path / "another machine"))
    store = place("memory://endpoints") if remote else store
    found = Records(
        store, address.parse(EMBEDDINGS, "openai:m", "https://HOST/v1/"), "vectors"
    ).generations()
    assert [(item.number, item.texts) for item in found] == [(2, ("a", "b")), (1, ("a", "b"))]
    assert np.array_equal(found[0].answers, vectors[1])
    assert (
        Records(
            store, address.parse(EMBEDDINGS, "openai:n", "https://host/v1"), "vectors"
        ).generations()
        == []
    )
    (path,) = (store.work / ".endpoints").rglob("generation-0001.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    damaged = Records(store, address.parse(EMBEDDINGS, "openai:m", "https://host/v1"), "vectors")
    with pytest.raises(UserError, match=r"record of an endpoint is damaged"):
        damaged.generations()


def test_what_stands_for_weights_is_what_stores_know_already() -> None:
    known = {"endpoint": "https://host/v1", "model": "m", "generation": 2}
    at = address.parse(EMBEDDINGS, "openai:m", "https://host/v1/embeddings")
    assert digest(at, 2) == sha256_json(known)
    assert at.target == "https://host/v1/embeddings"
