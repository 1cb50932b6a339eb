"""Scores in the store: each pair is asked for once, whoever asks, and nothing is lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragdistill.errors import UserError
from ragdistill.signals.fingerprint import Fingerprint, pair_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_reranker import scoring
from ragdistill_reranker.scoring import Pair, Scores

PAIRS: list[Pair] = [(f"q{n % 5}", f"d{n % 7}") for n in range(60)]


class Fake:
    """Scores a pair by its letters, three at a time, and may fail on the way."""

    scale, digest, by = "logit", "fake", "document"

    def __init__(self, *, fails_after: int = 1000, says: float | None = None) -> None:
        self.asked: list[Pair] = []
        self._left, self._says = fails_after, says

    def fingerprint(self) -> Fingerprint:
        """See ``Scorer``."""
        return Fingerprint(kind="score", weights="fake", tokenizer="", dtype="float32")

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """See ``Scorer``."""
        for start in range(0, len(pairs), 3):
            part = list(pairs[start : start + 3])
            if self._left < len(part):
                raise UserError("the teacher has gone")
            self._left -= len(part)
            self.asked += part
            scores = [truth(pair) if self._says is None else self._says for pair in part]
            yield list(range(start, start + len(part))), np.array(scores, np.float32), len(part)


def truth(pair: Pair) -> float:
    return float(sum(map(ord, "".join(pair)))) / 7


def opened(folder: Path) -> Space:
    return SignalStore(folder).space(Fake().fingerprint(), teacher="fake", accept_change=False)


def test_pairs_are_asked_for_once_and_what_a_fault_interrupts_goes_on(tmp_path: Path) -> None:
    failing = Fake(fails_after=10)
    with pytest.raises(UserError, match="gone"):
        scoring.collect(failing, PAIRS, opened(tmp_path))
    again = Fake()
    done = scoring.collect(again, PAIRS, opened(tmp_path))
    assert sorted(failing.asked + again.asked) == sorted(set(PAIRS))
    assert (done.pairs, done.tokens) == (len(again.asked), len(again.asked))
    found = scoring.stored(opened(tmp_path), PAIRS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [truth(pair) for pair in PAIRS], rtol=1e-6)
    assert scoring.collect(Fake(fails_after=0), PAIRS, opened(tmp_path)).pairs == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_score_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match="NaN or infinity for 3 of 3 pairs"):
        scoring.collect(Fake(says=value), PAIRS, opened(tmp_path))
    assert len(opened(tmp_path)) == 0


def test_a_pair_s_key_tells_where_the_query_ends() -> None:
    assert pair_key("a", "bc") != pair_key("ab", "c")
    assert pair_key("", "1 a") != pair_key("1 a", "")
    assert len(pair_key("a", "b")) == 16


@pytest.mark.parametrize("probes", [1, 3])
def test_forecast_counts_what_is_loaded_once_and_not_for_every_probe(
    monkeypatch: pytest.MonkeyPatch, probes: int
) -> None:
    batches, met, now = [[1] * (3 + n % 4) for n in range(40)], list[int](), [100.0]

    def read(batch: list[int]) -> None:
        now[0] += 0.5 * len(batch) + (0 if met else 30)
        met.append(len(batch))

    monkeypatch.setattr(scoring, "perf_counter", lambda: now[0])
    told = scoring.forecast(iter(batches), len, read, probes=probes)
    tokens = sum(map(len, batches))
    assert told == scoring.Forecast(tokens, pytest.approx(30 + 0.5 * tokens))
    assert probes < len(met) <= 2 * probes + 1  # a sample of them, and the first once more
    assert scoring.forecast([], len, read) == scoring.Forecast(0, 0.0)
