"""A reranker over HTTP: what is stored is right and paid for once, whatever goes wrong on the way."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from endpoint_helpers import seeded
from ragdistill.endpoint import address, client
from ragdistill.endpoint.identity import Records
from ragdistill.errors import UserError
from ragdistill.first_stage import Words
from ragdistill.signals.places import place
from ragdistill.signals.store import SignalStore, Space
from ragdistill_reranker import latency
from ragdistill_reranker.endpoint.asking import RERANK, by_query
from ragdistill_reranker.endpoint.identity import PROBES
from ragdistill_reranker.endpoint.scorer import EndpointScorer
from ragdistill_reranker.scoring import Collected, Pair, collect, stored
from rerank_helpers import Reranker, drawn, logit, reranking

KEY = "sk-test-4f1b9c"
DOCUMENTS = 11


def some(queries: int) -> list[Pair]:
    return [
        (f"what is {query}?", f"the document {document} é tells of {document % 7}")
        for query in range(queries)
        for document in range(query, query + DOCUMENTS)
    ]


PAIRS = some(12)
PROBED = [(PROBES[0], document) for document in PROBES[1:]]
FAULTS = {"429": 0.1, "500": 0.05, "stall": 0.03, "garbage": 0.05, "truncated": 0.05,
          "broken": 0.04, "short": 0.05, "twice": 0.03, "nan": 0.03, "shuffled": 0.2}  # fmt: skip


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setenv("RERANK_API_KEY", KEY)


@pytest.fixture
def served() -> Iterator[Reranker]:
    with reranking(key=KEY) as endpoint:
        yield endpoint


Made = Callable[..., EndpointScorer]


@pytest.fixture
def made(served: Reranker, tmp_path: Path) -> Made:
    """Makes scorers as commands one after the other would."""

    def make(**options: Any) -> EndpointScorer:
        told = {"url": served.url, "store": str(tmp_path / "store"), "batch": 4} | options
        return EndpointScorer("rerank:tiny", **told)

    return make


def opened(scorer: EndpointScorer, folder: Path) -> Space:
    store = SignalStore(folder / "store")
    return store.space(scorer.fingerprint(), teacher=scorer.known_as, accept_change=True)


def gathered(scorer: EndpointScorer, folder: Path, pairs: list[Pair] = PAIRS) -> Collected:
    return collect(scorer, pairs, opened(scorer, folder))


def test_a_faulty_endpoint_ends_with_every_score_right_and_none_paid_twice(
    served: Reranker, made: Made, tmp_path: Path
) -> None:
    faults = served.fault = seeded(1, FAULTS)
    scorer = made(batch=2, timeout=2.0)
    done = gathered(scorer, tmp_path)
    served.rest()
    assert done.pairs == len(PAIRS)
    right = np.array([drawn(*pair) for pair in PAIRS], dtype=np.float32)
    assert np.array_equal(stored(opened(scorer, tmp_path), PAIRS), right)
    hit = {faults(number) for number in range(1, served.requests + 1)}
    assert hit >= set(FAULTS), "the seed injects too little"
    assert served.delivered == dict.fromkeys([*PAIRS, *PROBED], 1)
    assert scorer.describe()["endpoint"]["tokens"] >= done.tokens
    again = made()
    asked = served.requests
    assert gathered(again, tmp_path) == Collected(0, 0)
    assert served.requests == asked


def test_documents_of_a_query_go_together_several_requests_at_a_time(
    served: Reranker, made: Made, tmp_path: Path
) -> None:
    served.hold_after = 1  # the probes'
    scorer = made(concurrency=3)

    def release() -> None:
        until = time.monotonic() + 30
        while served.busy < 3 and time.monotonic() < until:
            time.sleep(0.01)
        served.hold.set()

    threading.Thread(target=release).start()
    found = list(scorer.answers(PAIRS))
    assert served.most_busy == 3
    _, *wishes = served.wishes
    assert sorted(len(wish["documents"]) for wish in wishes[:3]) == [3, 4, 4]
    assert len(wishes) == 3 * 12
    for wish in wishes:
        assert wish.keys() == {"model", "query", "documents", "top_n", "return_documents"}
        assert wish["top_n"] == len(wish["documents"])
        assert wish["return_documents"] is False
    assert sorted(place for places, _, _ in found for place in places) == list(range(len(PAIRS)))
    for places, scores, billed in found:
        assert scores.tolist() == [np.float32(drawn(*PAIRS[at])) for at in places]
        assert billed == served.count([PAIRS[at] for at in places])


@pytest.mark.parametrize("bills", [1.3, 0.5])
def test_no_more_is_spent_than_the_budget_and_a_higher_one_goes_on(
    served: Reranker, made: Made, tmp_path: Path, bills: float
) -> None:
    served.fault, served.bills = seeded(2, {"short": 0.1, "500": 0.1}), bills
    price = 10_000.0 / bills
    many, before = some(40), 0.0
    for budget in (20.0, 44.99):
        scorer = made(price=price, budget=budget)
        with pytest.raises(UserError, match=f"the budget of {budget} USD"):
            gathered(scorer, tmp_path, many)
        served.rest()
        spent = served.billed * price / 1e6
        assert scorer.spent == pytest.approx(spent)
        # Not over it, but up to it: a pair of this set may have up to 50 bytes, half a dollar and more.
        assert before < budget - 0.7 / bills < spent <= budget
        before = spent
    gathered(made(price=price, budget=1000.0), tmp_path, many)
    served.rest()
    probes = {served.delivered.pop(pair) for pair in PROBED}
    assert served.delivered == dict.fromkeys(many, 1)
    assert probes == {3}  # asked whenever collection goes on


@pytest.mark.parametrize("units", ["usage", "tokens", "billed_units"])
def test_what_is_billed_is_read_wherever_it_is_told(
    served: Reranker, made: Made, tmp_path: Path, units: str
) -> None:
    served.units = units
    scorer = made(price=1.0)
    assert gathered(scorer, tmp_path).tokens == served.count(PAIRS)
    assert scorer.describe()["endpoint"]["tokens"] == served.billed
    assert scorer.spent == scorer.usd(served.billed)


def test_a_server_that_does_not_count_is_billed_by_estimate(
    served: Reranker, made: Made, tmp_path: Path
) -> None:
    served.counts = False
    thought = sum(request.ask.estimate for request in by_query(PAIRS))
    assert gathered(made(), tmp_path).tokens == thought


def test_searches_are_not_taken_for_tokens(served: Reranker, made: Made, tmp_path: Path) -> None:
    served.units = "searches"
    with pytest.raises(UserError, match=r"--teacher-price: this endpoint bills searches"):
        gathered(made(price=2.0, budget=5.0), tmp_path)
    assert served.requests == 1
    assert gathered(made(), tmp_path).pairs == len(PAIRS)


def test_the_key_is_told_nowhere(
    served: Reranker,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(client, "_TOLD_SECONDS", 0.0)
    served.fault = seeded(3, {"429": 0.3})
    gathered(made(price=1.0), tmp_path)
    assert "next try" in caplog.text
    monkeypatch.setenv("WRONG_KEY", wrong := "sk-wrong-77aa")
    said = []
    for name in ("WRONG_KEY", KEY):
        with pytest.raises(UserError) as refused:
            gathered(made(key_env=name), tmp_path, some(13))
        said.append(refused.value.format_message())
    assert "does not take the key in WRONG_KEY (status 401)" in said[0]
    assert "names no environment variable" in said[1]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (KEY, wrong):
        assert secret not in caplog.text + "".join(said)
        assert not [content for content in written if secret.encode() in content]


def test_an_endpoint_that_has_changed_is_refused_or_begins_anew(
    served: Reranker, made: Made, tmp_path: Path
) -> None:
    first = made()
    gathered(first, tmp_path)
    served.score = other = lambda query, document: drawn(query, document, seed=1)
    assert gathered(made(), tmp_path).pairs == 0  # nothing has to be asked
    more = [*PAIRS, ("one more", "pair")]
    with pytest.raises(UserError, match=r"'tiny' is not the model .* it scores a pair otherwise"):
        gathered(made(), tmp_path, more)
    late = made(accept_change=True)
    with pytest.raises(UserError, match="give the same command again"):
        gathered(late, tmp_path, more)  # its space was open before it was met
    accepted = made()
    accepted.meet(lambda: True)
    assert accepted.digest != first.digest
    assert gathered(accepted, tmp_path, more).pairs == len(more)
    np.testing.assert_array_equal(
        stored(opened(accepted, tmp_path), more), np.float32([other(*pair) for pair in more])
    )
    served.score = drawn  # the former is back, and known
    back = made()
    back.meet(lambda: True)
    assert back.fingerprint() == first.fingerprint()
    assert gathered(back, tmp_path, more).pairs == 1


def test_a_failure_for_good_keeps_what_was_answered(
    served: Reranker, made: Made, tmp_path: Path
) -> None:
    served.fault = lambda number: "400" if number == 9 else None
    with pytest.raises(
        UserError, match=r"refuses the request \(status 400: not now\); if documents"
    ):
        gathered(made(), tmp_path)
    served.fault = lambda number: None
    assert 0 < gathered(made(), tmp_path).pairs < len(PAIRS)
    served.rest()
    assert {served.delivered[pair] for pair in PAIRS} == {1}


@pytest.mark.parametrize("fault", ["garbage", "truncated", "short", "twice", "nan"])
def test_what_stays_wrong_is_given_up_with_one_line(
    served: Reranker, made: Made, tmp_path: Path, fault: str
) -> None:
    served.fault = lambda number: fault if number > 1 else None
    why = {"garbage": "whole JSON", "truncated": "whole JSON", "short": r"holds \d of \d scores",
           "twice": "an index is missing, or there twice", "nan": "whole JSON"}  # fmt: skip
    with pytest.raises(UserError, match=rf"\(10 tries\): the last .* {why[fault]}"):
        gathered(made(), tmp_path)


def test_its_scale_shows_when_it_was_asked(served: Reranker, made: Made, tmp_path: Path) -> None:
    scorer = made()
    assert scorer.scale == "unknown"
    gathered(scorer, tmp_path)
    assert scorer.scale == made().scale == "probability"
    served.score = logit
    other = made(store=str(tmp_path / "other"))
    list(other.answers(PAIRS))
    assert other.scale == "logit"


def test_an_endpoint_is_not_asked_for_the_sake_of_its_speed(served: Reranker, made: Made) -> None:
    scorer, documents = made(), [f"{query} {text}" for query, text in PAIRS]
    met = served.requests
    found = latency.measure(Words(documents), ["q0", "q1"], documents, [scorer], {}, 0)
    assert (found, served.requests) == ({}, met)


def test_the_second_version_of_cohere_s_interface_is_told_nothing_it_does_not_know(
    made: Made, served: Reranker
) -> None:
    sent = made(url=served.url.replace("/v1", "/v2"))
    with pytest.raises(UserError, match="knows no model"):  # this server has no v2
        list(sent.answers(PAIRS[:1]))
    assert served.wishes[0].keys() == {"model", "query", "documents", "top_n"}


def test_an_address_is_one_with_its_route_or_without_and_not_the_embedder_s(tmp_path: Path) -> None:
    ways = ("https://host/v1", "https://HOST/v1/", "https://host/v1/rerank")
    scorers = [EndpointScorer("rerank:m", way, store=str(tmp_path)) for way in ways]
    assert len({scorer.fingerprint().id for scorer in scorers}) == 1
    assert scorers[0].known_as == "rerank:m at https://host/v1"
    from ragdistill_embedder.endpoint.asking import EMBEDDINGS

    spaces = {
        Records(place(tmp_path), address.parse(service, f"{service.prefix}m", ways[0]), "").spend
        for service in (RERANK, EMBEDDINGS)
    }
    assert len(spaces) == 2
    with pytest.raises(UserError, match="as rerank:bge-reranker-v2-m3"):
        EndpointScorer("rerank:", ways[0])
    with pytest.raises(UserError, match="--teacher-url: is needed"):
        EndpointScorer("rerank:m", None)
