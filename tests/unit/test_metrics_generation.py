"""Speed of writing by a known clock, in fair turns; the peak memory of a known block."""

import sys
import types
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from ragdistill.metrics import generation, latency
from ragdistill.metrics.memory import peak_memory


class Clock:
    """A clock that only moves when somebody writes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def system(self, name: str, per_prompt: float, per_token: float) -> generation.Generate:
        def generate(prompt: Sequence[int], new_tokens: int) -> Iterator[int]:
            self.calls.append(name)
            self.now += per_prompt * len(prompt)
            for token in range(new_tokens):
                self.now += per_token
                yield token

        return generate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", clock)
    monkeypatch.setattr(generation, "perf_counter", clock)
    return clock


def test_figures_of_a_known_clock(clock: Clock) -> None:
    system = clock.system("a", per_prompt=0.001, per_token=0.01)
    found = generation.profile_generation({"a": system}, [[0] * 40], new_tokens=11, seconds=15)["a"]
    assert found["calls"] == 100
    assert found["first_token"] == pytest.approx({"p50_ms": 50, "p95_ms": 50, "p99_ms": 50})
    assert found["token"] == pytest.approx({"p50_ms": 10, "p95_ms": 10, "p99_ms": 10})
    assert found["per_second"] == pytest.approx(100)  # the wait for the first is no decoding
    assert found["p50_ms"] == pytest.approx(150)
    assert (found["unit"], found["prompt_tokens"], found["new_tokens"]) == ("tokens", 40, 11)


def test_the_slow_first_call_is_not_counted(clock: Clock) -> None:
    def loads(prompt: Sequence[int], new_tokens: int) -> Iterator[int]:
        clock.now += 100 if not clock.calls else 0
        yield from clock.system("a", 0.0, 0.1)(prompt, new_tokens)

    found = generation.profile_generation({"a": loads}, [[0]], new_tokens=2, seconds=0.5)["a"]
    assert (found["calls"], found["first_token"]["p50_ms"]) == (3, pytest.approx(100))
    assert (found["first_token"]["p95_ms"], found["p99_ms"]) == (None, None)


def test_systems_take_turns_on_the_same_prompts(clock: Clock) -> None:
    systems = {name: clock.system(name, 0.0, rate) for name, rate in (("t", 0.02), ("s", 0.01))}
    found = generation.profile_generation(systems, [[1], [1, 2, 3]], new_tokens=10, seconds=10)
    assert found["s"]["per_second"] / found["t"]["per_second"] == pytest.approx(2)
    assert found["s"]["prompt_tokens"] == 2
    assert sum(left != right for left, right in pairwise(clock.calls)) >= 10


def test_a_system_that_stops_at_once_has_no_rate_and_one_that_is_mute_is_refused(
    clock: Clock,
) -> None:
    def short(prompt: Sequence[int], new_tokens: int) -> Iterator[int]:
        clock.now += 0.1
        return iter([1])

    found = generation.profile_generation({"a": short}, [[0]], seconds=1)["a"]
    assert (found["per_second"], found["token"], found["new_tokens"]) == (None, None, 1)
    with pytest.raises(ValueError, match="no token"):
        generation.profile_generation({"a": lambda prompt, new_tokens: []}, [[0]])
    with pytest.raises(ValueError, match="0 prompts"):
        generation.profile_generation({"a": short}, [])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own peak")
def test_peak_memory_sees_a_block_that_is_gone_again() -> None:
    def take() -> None:
        block = bytearray(80_000_000)
        block[::4096] = b"x" * len(block[::4096])

    for _ in range(2):  # the second time it may come from what the allocator kept
        found = peak_memory(take)
        assert found["rise_mb"] == pytest.approx(80, rel=0.1)
    idle = peak_memory(lambda: None)["rise_mb"]
    assert idle is not None
    assert idle < 10


def test_a_gpu_tells_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"peak": 9e9}
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        reset_peak_memory_stats=lambda: held.update(peak=0),
        max_memory_allocated=lambda: held["peak"],
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    assert peak_memory(lambda: held.update(peak=3e6))["gpu_mb"] == 3
