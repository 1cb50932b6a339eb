"""Latency: percentiles of a known clock, fair turns, and nothing counted that should not be."""

import gc
import threading
from itertools import pairwise

import pytest

from ragdistill import progress
from ragdistill.metrics import latency


class Clock:
    """A clock that only moves when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.now

    def system(self, name: str, per_call: float, per_text: float = 0.0) -> latency.Encode:
        def encode(texts: list[str]) -> None:
            assert not gc.isenabled()
            self.calls.append((name, len(texts)))
            self.now += per_call + per_text * len(texts)

        return encode


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock)
    return clock


def test_figures_of_a_known_clock(clock: Clock) -> None:
    texts = [f"text {i}" for i in range(64)]
    speed = latency.profile(clock.system("a", per_call=0.004, per_text=0.001), texts, calls=100)
    assert (speed.p50_ms, speed.p95_ms, speed.p99_ms) == pytest.approx((5, 5, 5))
    assert speed.per_second == pytest.approx(64 / (2 * 0.036))
    assert (speed.calls, speed.texts, speed.batch) == (100, 64, 32)
    assert gc.isenabled()


def test_percentiles_see_the_slow_calls(clock: Clock) -> None:
    state = {"calls": 0}

    def sometimes_slow(texts: list[str]) -> None:
        state["calls"] += len(texts) == 1
        clock.now += 0.1 if len(texts) == 1 and state["calls"] % 20 == 0 else 0.001

    speed = latency.profile(sometimes_slow, ["a", "b"], calls=1000, warmup=0)
    assert speed.p50_ms == pytest.approx(1)
    assert speed.p99_ms == pytest.approx(100)
    assert speed.latencies_ms == pytest.approx([1] * 95 + [100] * 5)


def test_systems_take_turns_and_share_a_drift(clock: Clock) -> None:
    """A machine that gets slower all the time leaves the ratio of two systems as it is."""

    def slowing(per_text: float) -> latency.Encode:
        def encode(texts: list[str]) -> None:
            clock.now += per_text * len(texts) * (1 + clock.now)

        return encode

    speeds = latency.profile_many(
        {"teacher": slowing(1e-4), "student": slowing(5e-5)}, ["x"] * 640, calls=400
    )
    assert speeds["teacher"].p50_ms / speeds["student"].p50_ms == pytest.approx(2, rel=0.02)
    assert speeds["student"].per_second / speeds["teacher"].per_second == pytest.approx(2, rel=0.02)


def test_no_system_waits_for_the_other_to_finish(clock: Clock) -> None:
    systems = {name: clock.system(name, 0.001) for name in ("a", "b")}
    latency.profile_many(systems, ["x"] * 100, calls=200, warmup=0)
    single = [name for name, size in clock.calls if size == 1]
    switches = sum(left != right for left, right in pairwise(single))
    assert switches >= 20


@pytest.mark.parametrize(("texts", "calls"), [([], 100), (["a"], 99)])
def test_too_little_to_measure_is_refused(texts: list[str], calls: int) -> None:
    with pytest.raises(ValueError, match="profile"):
        latency.profile(len, texts, calls=calls)


def test_requests_take_turns_and_slow_ones_are_told_of(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    slow, quick = (
        clock.system(name, per_call=each) for name, each in (("slow", 4.0), ("quick", 1.0))
    )
    systems = {"slow": lambda n: slow([str(n)]), "quick": lambda n: quick([str(n)])}
    found = latency.profile_requests(systems, 3, items=100)
    assert (found["slow"]["calls"], found["quick"]["calls"]) == (5, 20)
    assert found["slow"]["p50_ms"] == pytest.approx(4000)
    assert found["quick"]["per_second"] == pytest.approx(100)
    names = [name for name, _ in clock.calls[4:]]  # two of each come first
    assert (
        names == ["slow"] * 4 + ["quick"] * 10 + ["quick"] * 10
    )  # a slow one's second call counts
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("timed requests: 1 of 24, about ")
    assert said[-1].startswith("timed requests: 24 of 24, ")


def test_a_bar_is_drawn_where_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    before = threading.active_count()
    with progress.track("timed", 2, refreshing=False) as advance:
        assert threading.active_count() == before  # nothing runs beside what is timed
        advance(2, 0)
