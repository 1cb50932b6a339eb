"""A teacher over HTTP: what is stored is right and paid for once, whatever goes wrong on the way."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from endpoint_helpers import Endpoint, in_base64, seeded, serving
from ragdistill.cli import main
from ragdistill.encoder import load_encoder
from ragdistill.endpoint import client
from ragdistill.signals.fingerprint import text_key
from ragdistill.signals.store import SignalStore
from ragdistill_embedder.config import EmbedderConfig
from ragdistill_embedder.endpoint.identity import PROBES
from ragdistill_embedder.setup import Setup
from tiny_models import save_searched, save_tiny

KEY = "sk-test-4f1b9c"
PRICE = 20_000.0  # USD per million tokens: the whole collection costs some tens of dollars
FAULTS = {"429": 0.1, "500": 0.05, "stall": 0.03, "garbage": 0.05, "truncated": 0.05,
          "broken": 0.04, "short": 0.05, "twice": 0.03, "nan": 0.03, "shuffled": 0.2}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("teacher", "other", "student")):
        save_tiny(folder / name, seed=seed)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_searched(tmp_path / "data", documents=40, queries=10)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def endpoint(models: Path) -> Iterator[Endpoint]:
    with serving(models / "teacher", key=KEY) as served:
        yield served


class Folder:
    """Where a test runs the command."""

    def __init__(self, path: Path, models: Path, url: str) -> None:
        self.path = path
        self.words = ["embedder", "--teacher", "openai:tiny", "--teacher-url", url]
        self.words += ["--student", str(models / "student"), "--data", str(path / "data")]
        self.words += ["--store", str(path / "store"), "--store-dtype", "float32", "--epochs", "1"]
        self.words += ["--train-items", "60", "--teacher-batch", "4"]

    def run(self, *more: str, out: str = "run", stages: str = "collect") -> Result:
        words = [*self.words, "--out", str(self.path / out), "--stages", stages, *more]
        return CliRunner().invoke(main, words)

    def report(self, *more: str, out: str = "run", stages: str = "collect") -> dict[str, Any]:
        result = self.run(*more, "--json", out=out, stages=stages)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def stored(self, url: str) -> tuple[list[str], np.ndarray]:
        """All texts that a run wants, and what the store has of them."""
        config = EmbedderConfig(
            teacher="openai:tiny", teacher_url=url, student=self.words[6],
            data=str(self.path / "data"), store=str(self.path / "store"), store_dtype="float32",
            train_items=60,
        )  # fmt: skip
        setup = Setup(config, self.path / "run")
        texts = list(dict.fromkeys(item.text for item in setup.wanted()))
        return texts, setup.stored(texts, "passage")


@pytest.fixture
def folder(tmp_path: Path, models: Path, data: Path, endpoint: Endpoint) -> Folder:
    return Folder(tmp_path, models, endpoint.url)


def test_a_faulty_endpoint_ends_with_every_vector_right_and_none_paid_twice(
    folder: Folder, endpoint: Endpoint, models: Path
) -> None:
    faults = seeded(0, FAULTS)
    endpoint.fault, endpoint.stall = faults, 3.0
    report = folder.report("--teacher-timeout", "2", "--teacher-batch", "1")
    texts, vectors = folder.stored(endpoint.url)
    right = load_encoder(models / "teacher", "cpu").encode(texts)
    assert np.allclose(vectors, right, atol=1e-6)
    hit = {faults(number) for number in range(1, endpoint.requests + 1)}
    assert hit >= set(FAULTS), "the seed injects too little"
    assert endpoint.delivered == dict.fromkeys([*texts, *PROBES], 1)
    assert report["stages"]["collect"]["items"] == len(texts)
    assert folder.report()["stages"]["collect"] == report["stages"]["collect"]


@pytest.mark.parametrize("bills", [1.3, 0.5])
def test_no_more_is_spent_than_the_budget_and_a_higher_one_goes_on(
    folder: Folder, endpoint: Endpoint, bills: float
) -> None:
    endpoint.fault, endpoint.bills = seeded(2, {"short": 0.1, "500": 0.1}), bills
    price = PRICE / bills
    money = ("--teacher-price", str(price), "--teacher-budget")
    before = 0.0
    for budget in (12.0, 19.99):
        result = folder.run(*money, str(budget))
        spent = endpoint.billed * price / 1e6
        assert result.exit_code == 2, result.output
        assert f"the budget of {budget} USD" in result.output.splitlines()[-1]
        assert f"({spent:.6f} USD are spent)" in result.output
        # Not over it, but up to it: a text of this set has up to 44 bytes, a dollar.
        assert before < budget - 1 / bills < spent <= budget
        before = spent
    whole = folder.run(*money, "1000")
    assert whole.exit_code == 0, whole.output
    texts, _ = folder.stored(endpoint.url)
    probes = {text: endpoint.delivered.pop(text) for text in PROBES}
    assert endpoint.delivered == dict.fromkeys(texts, 1)
    assert set(probes.values()) == {3}  # asked whenever collection goes on


def test_a_server_that_does_not_count_is_billed_by_estimate(
    folder: Folder, endpoint: Endpoint
) -> None:
    endpoint.counts, endpoint.fault = False, seeded(3, {"garbage": 0.2})
    plan = json.loads(folder.run("--dry-run", "--json").stdout)["plan"]
    assert folder.report()["stages"]["collect"]["tokens"] == plan["tokens"]
    money = ("--teacher-price", str(PRICE), "--teacher-budget")
    spent = endpoint.billed * PRICE / 1e6  # the server has the student's tokenizer
    refused = folder.run(*money, str(spent + 0.1), "--train-items", "300", out="more")
    assert f"({spent:.6f} USD are spent)" in refused.output


def test_a_dry_run_tells_the_cost_and_asks_nothing(folder: Folder, endpoint: Endpoint) -> None:
    def plan(*more: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(folder.run(*more, "--dry-run", "--json").stdout)["plan"]
        return told

    unknown = plan()
    assert (unknown["usd"], unknown["seconds"], unknown["store_bytes"]) == (None, None, None)
    told = plan("--teacher-price", "0.13")
    assert told["usd"] == pytest.approx(told["tokens"] * 0.13 / 1e6)
    assert endpoint.requests == 0
    assert not (folder.path / "store").exists()
    done = folder.report("--teacher-price", "0.13")["stages"]["collect"]
    assert (done["items"], done["tokens"]) == (told["items"], told["tokens"])
    after = plan("--teacher-price", "0.13")
    assert (after["items"], after["usd"], after["store_bytes"]) == (0, 0, 0)
    assert "USD spent before" in after["steps"][0]


@pytest.mark.slow
def test_a_whole_run_ends_in_a_report_and_goes_on_without_the_endpoint(
    folder: Folder, endpoint: Endpoint
) -> None:
    endpoint.encode = in_base64
    stages = "collect,train,evaluate,export"
    report = folder.report("--teacher-price", "0.02", stages=stages)
    assert report["teacher"]["name"] == "tiny"
    assert report["training"]["token_states"] is False
    assert list(report["speed"]) == ["student", "onnx", "onnx-int8"]
    assert 0 < report["quality"]["nDCG@10"]["teacher"] <= 1
    service = report["teacher"]["endpoint"]
    assert service["tokens"] == endpoint.billed
    assert service["usd"] == pytest.approx(endpoint.billed * 0.02 / 1e6)
    assert service["requests"] == endpoint.requests
    assert service["request_p50_ms"] > 0
    asked, endpoint.fault = endpoint.requests, lambda number: "500"
    assert folder.run("--eval-queries", "8", stages=stages).exit_code == 0
    assert endpoint.requests == asked


def test_the_key_is_written_nowhere(
    folder: Folder, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = folder.run(stages="collect,train,evaluate").output
    monkeypatch.setenv("WRONG_KEY", wrong := "sk-wrong-77aa")
    refused = folder.run("--teacher-key-env", "WRONG_KEY", "--train-items", "200", out="b")
    assert "does not take the key in WRONG_KEY (status 401)" in refused.output
    endpoint.fault = lambda number: "400"
    given = folder.run("--teacher-key-env", KEY, out="c")
    assert "names no environment variable" in given.output
    written = [path.read_bytes() for path in folder.path.rglob("*") if path.is_file()]
    for secret in (KEY, wrong):
        assert secret not in said + refused.output + given.output
        assert not [content for content in written if secret.encode() in content]


def test_an_endpoint_that_has_changed_is_refused_or_begins_anew(
    folder: Folder, endpoint: Endpoint, models: Path
) -> None:
    folder.report()
    first = endpoint.encoder
    texts, vectors = folder.stored(endpoint.url)
    endpoint.encoder = load_encoder(models / "other", "cpu")
    assert folder.run().exit_code == 0  # nothing has to be asked
    more = ("--train-items", "90")
    refused = folder.run(*more, out="more")
    assert refused.exit_code == 2
    assert "'tiny' is not the model that the store knows from there: it places" in refused.output
    assert not (folder.path / "more").exists()
    store = SignalStore(folder.path / "store")
    (known,) = store.spaces()
    accepted = folder.report(*more, "--accept-teacher-change", out="more")
    assert accepted["stages"]["collect"]["items"] > len(texts)
    assert len(store.spaces()) == 2
    assert store.open(store.find(known.id)).get([text_key(texts[0])]) == pytest.approx(vectors[:1])
    # The former one is back, and known: its own vectors are there, and more come to them.
    endpoint.encoder = first
    back = folder.report("--train-items", "120", out="back")
    assert 0 < back["stages"]["collect"]["items"] < len(texts)
    assert {space.id for space in store.spaces()} > {known.id}
    assert len(store.open(store.find(known.id))) > len(texts)


def test_a_failure_for_good_keeps_what_was_answered(folder: Folder, endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "400" if number == 9 else None
    refused = folder.run()
    assert refused.exit_code == 2
    assert "refuses the request (status 400: not now)" in refused.output
    kept = sum(endpoint.delivered.values())
    assert kept > len(PROBES)
    endpoint.fault = lambda number: None
    folder.report()
    texts, _ = folder.stored(endpoint.url)
    assert all(endpoint.delivered[text] == 1 for text in texts)


def test_a_server_that_says_when_to_come_back_is_obeyed(folder: Folder, endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "wait 1" if number == 1 else None
    started = time.monotonic()
    folder.report()
    assert endpoint.asked_at[1] - endpoint.asked_at[0] >= 1
    assert time.monotonic() - started >= 1
    endpoint.fault = lambda number: "wait 9999"
    refused = folder.run("--train-items", "200", out="later")
    assert "asks to wait 9,999 s (429)" in refused.output


def test_texts_are_cut_where_that_is_asked_for(folder: Folder, endpoint: Endpoint) -> None:
    folder.report("--max-length", "6")
    sent = [text for text in endpoint.delivered if text not in PROBES]
    assert max(len(row) for row in endpoint.encoder.tokenise(sent)) == 6
    assert any(" " in text for text in sent)
    before = endpoint.requests
    folder.report("--max-length", "12", out="longer")
    assert endpoint.requests > before
