"""The watch: rare false alarms, quick detection, and a state that survives whatever happens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy import integrate, stats

from ragdistill.cli import main
from ragdistill.rag.canary import HOLDS, SHARES, Canary, step
from ragdistill.rag.drift import drift
from ragdistill.rag.sequential import RATIO, Betting, Mixture, Sprt, log_capital, log_mixture
from ragdistill.rag.watch import Outcome, Thresholds, Watch, begun

Values = NDArray[np.float64]
STREAMS, PAIRS, ALPHA = 2_000, 400, 0.05


def binary(
    random: np.random.Generator, kept: float, accuracy: float = 0.8
) -> tuple[Values, Values]:
    """Right or wrong, ``[streams, pairs]``: the student loses some of what its teacher gets right."""
    teacher = (random.random((STREAMS, PAIRS)) < accuracy).astype(float)
    return teacher * (random.random((STREAMS, PAIRS)) < kept), teacher


def graded(random: np.random.Generator, kept: float) -> tuple[Values, Values]:
    """Scores between, with noise in both."""
    quality = random.beta(4, 2, (STREAMS, PAIRS))
    student = kept * quality + random.uniform(-0.05, 0.05, (STREAMS, PAIRS)) * quality
    return student, quality


def first_crossing(log_evidence: Values, alpha: float) -> Values:
    """Pairs until each stream's evidence says so; more than there are where it never does."""
    crossed = log_evidence >= -np.log(alpha)
    return np.where(crossed.any(axis=-1), crossed.argmax(axis=-1) + 1, PAIRS + 1)


@pytest.mark.parametrize("make", [binary, graded], ids=lambda make: make.__name__)
def test_false_alarms_of_streams_exactly_at_a_threshold(make: object) -> None:
    """2,000 streams that lose 5 %, looked at after each of 400 pairs: at most 5 % are rolled back, and
    as few promoted; the same of a warning at 2 %."""
    random = np.random.default_rng(0)
    for kept in (0.95, 0.98):
        student, teacher = make(random, kept)  # type: ignore[operator]
        d = student - kept * teacher
        worse, better = log_capital(-d, 1.0), log_capital(d, kept)
        assert (first_crossing(worse, ALPHA) <= PAIRS).mean() <= ALPHA
        assert (first_crossing(better, ALPHA) <= PAIRS).mean() <= ALPHA


def test_delay_until_a_regression_is_found() -> None:
    """A loss of 20 % is found in most streams of 400 pairs; half as far beyond takes longer."""
    random = np.random.default_rng(1)
    delays = {}
    for kept in (0.8, 0.6):
        student, teacher = binary(random, kept)
        delays[kept] = first_crossing(log_capital(0.95 * teacher - student, 1.0), ALPHA)
    assert np.median(delays[0.8]) <= 120
    assert (delays[0.8] <= PAIRS).mean() >= 0.95
    assert np.median(delays[0.6]) < np.median(delays[0.8]) / 2
    student, teacher = binary(random, 1.0)  # a perfect student is let on
    assert np.median(first_crossing(log_capital(student - 0.95 * teacher, 0.95), ALPHA)) <= 150


def test_the_mixture_is_the_integral_and_rarely_wrong() -> None:
    """Against numerical integration over the half of the normal prior; 2,000 normal streams at 0."""
    for total, count, variance in ((3.0, 40, 0.5), (-2.0, 100, 1.0), (20.0, 200, 0.3)):
        prior = stats.norm(0, RATIO * np.sqrt(variance))
        by_hand, _ = integrate.quad(
            lambda m, t=total, n=count, v=variance, p=prior: (
                2 * p.pdf(m) * np.exp((m * t - n * m**2 / 2) / v)
            ), 0, 5,
        )  # fmt: skip
        assert log_mixture(total, count, variance) == pytest.approx(np.log(by_hand), abs=1e-6)
    draws = np.random.default_rng(2).normal(size=(STREAMS, PAIRS))
    counts = np.arange(1, PAIRS + 1)
    totals, squares = draws.cumsum(axis=1), (draws**2).cumsum(axis=1)
    late = slice(99, None)
    variance = ((squares - totals**2 / counts) / np.maximum(counts - 1, 1))[:, late]
    evidence = log_mixture(totals[:, late], counts[late], variance)
    assert (evidence.max(axis=1) >= np.log(1 / ALPHA)).mean() <= ALPHA
    one = Mixture()
    for value in draws[0]:
        one.add(value)
    assert one.most == pytest.approx(max(0.0, evidence[0].max()))


def test_one_by_one_is_all_at_once() -> None:
    d = np.random.default_rng(3).uniform(-0.9, 1, 50)
    bets = Betting(0.95)
    for value in d:
        bets.add(value)
    assert bets.most == pytest.approx(max(0.0, log_capital(d, 0.95).max()))


def test_error_rates_by_wald() -> None:
    """2,000 services with 0.5 % of errors, 2,000 requests each: 5 % at most are called bad; one with
    3 % is, within 500 requests in most."""
    random, step_up = np.random.default_rng(4), np.log(2.0)
    step_down = np.log1p(-0.01) - np.log1p(-0.005)
    for rate, count in ((0.005, 2_000), (0.03, 500)):
        failed = random.random((2_000, count)) < rate
        evidence = np.where(failed, step_up, step_down).cumsum(axis=1)
        found = (evidence.max(axis=1) >= np.log(1 / ALPHA)).mean()
        assert found <= ALPHA if rate == 0.005 else found >= 0.9
    one = Sprt(0.005, 0.01)
    for value in failed[0]:
        one.add(bool(value))
    assert one.most == pytest.approx(max(0.0, evidence[0].max()))


def lines(count: int, kept: float, seed: int = 0, **more: object) -> list[dict[str, object]]:
    random = np.random.default_rng(seed)
    right = random.random(count) < 0.8
    good = right & (random.random(count) < kept)
    return [
        {"student": bool(s), "teacher": bool(t), **more} for s, t in zip(good, right, strict=True)
    ]


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def told(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["rag", "watch", *words], input=stdin)


@pytest.mark.parametrize(
    ("rows", "decision", "status"),
    [
        (lines(3, 1.0), "continue", 0),
        (lines(500, 1.0), "promote: loses less than 5.0%", 0),
        (lines(500, 0.7), "roll back: loses more than 5.0%", 3),
        (lines(4000, 0.96), "warn: loses more than 2.0%", 0),
        (lines(500, 1.0, error=True), "roll back: errors above 0.50%", 3),
        (lines(500, 1.0, latency_ms=70), "warn: p50 above 50 ms", 0),
        (lines(500, 1.0, latency_ms=170), "roll back: p50 above 100 ms", 3),
        ([{"error": i % 250 == 0} for i in range(2000)], "warn: errors above 0.10%", 0),
    ],
)
def test_decisions(
    rows: list[dict[str, object]], decision: str, status: int, tmp_path: Path
) -> None:
    found = told(jsonl(tmp_path / "a.jsonl", rows))
    assert found.stdout.startswith(decision), found.output
    assert found.exit_code == status


def test_canary_steps() -> None:
    """Up by one after its time, held by a warning, down at once and for good."""
    state = Canary("hours", since=0.0)
    assert step(state, "promote", 7_199) == state
    for stage, hold in enumerate(HOLDS["hours"][:-1]):
        assert step(state, "warn", 1e9) == step(state, "continue", 1e9) == state
        state = step(state, "promote", state.since + hold)
        assert (state.stage, state.share) == (stage + 1, SHARES[stage + 1])
    assert state.since == 24 * 3600  # the guides' 100 % at 24 hours
    assert step(state, "promote", 1e9).status == "done"
    gone = step(state, "roll back", 1e9)
    assert (gone.share, gone.status) == (0.0, "rolled back")
    assert step(gone, "promote", 2e9) == gone
    assert step(step(state, "promote", 1e9), "roll back", 2e9).share == 0.0


def test_a_roll_out_over_a_day_in_pieces_is_the_same_as_in_one(tmp_path: Path) -> None:
    rows = [row | {"time": 25.0 * number} for number, row in enumerate(lines(3500, 1.0))]
    whole = told(jsonl(tmp_path / "a.jsonl", rows), "--canary", "hours", "--json")
    state, file = (
        ["--state", str(tmp_path / "s.json"), "--canary", "hours", "--json"],
        tmp_path / "b.jsonl",
    )
    for end in (3, 700, 700, 3500):
        last = told(jsonl(file, rows[:end]), *state)
    shown, again = json.loads(whole.stdout), json.loads(last.stdout)
    assert (shown["share"], shown["canary"]["since"]) == (1.0, 24 * 3600)
    assert shown | {"lines": 0} == again | {"lines": 0}
    assert again == json.loads((tmp_path / "s.json").read_text())
    # What comes after is bad: all traffic is taken away, and stays away until a new start.
    more = [row | {"time": 2e5} for row in lines(400, 0.5)]
    assert told(jsonl(file, rows + more), *state).exit_code == 3
    assert told(jsonl(file, rows + more + rows), *state).exit_code == 3
    assert told(jsonl(file, rows), *state, "--restart").exit_code == 0


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Kill -9 while lines come: what is kept is whole, and goes on to the same end."""
    rows = lines(3_000, 0.93)
    file, state = jsonl(tmp_path / "a.jsonl", rows), tmp_path / "s.json"
    code = (
        "import ragdistill.cli.rag.watch as w, ragdistill.files as f, os, signal\n"
        "old = f.os.fsync\n"
        "def die(handle):\n"
        "    old(handle)\n"
        "    if os.path.exists('s.json'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "f.os.fsync = die\n"
        "w.watch(['a.jsonl', '--state', 's.json'])\n"
    )
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths},
        check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = json.loads(state.read_text())
    assert 0 < kept["lines"]["a.jsonl"] < 3_000
    state.write_text(state.read_text().replace('"a.jsonl"', json.dumps(file)))
    again = told(file, "--state", str(state), "--json")
    assert json.loads(again.stdout) == json.loads(told(file, "--json").stdout)


def test_stdin_goes_on_where_the_state_is(tmp_path: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in lines(300, 1.0))
    for _ in range(2):
        last = told("--state", str(tmp_path / "s.json"), "--json", stdin=rows)
    assert json.loads(last.stdout)["pairs"] == 600


def test_evidence_begins_anew_with_each_share() -> None:
    watch: Watch = begun(Thresholds(), "hours", now=0.0)
    assert watch.alpha == pytest.approx(0.01)
    for number in range(1, 1000):
        watch.add(Outcome(1.0, 1.0), now=30.0 * number)
        if watch.canary is not None and watch.canary.stage:
            break
    assert watch.canary == Canary("hours", since=7200.0, stage=1)
    assert (watch.pairs, watch.decision()) == (0, "continue")


def test_drift_is_found_and_not_invented() -> None:
    """The distance by its definition; 200 pairs of samples of one distribution alarm as often as alpha
    says; a shift of half a standard deviation does."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)), random.normal(0.5, 1, size=(20, 3))

    def mean(a: Values, b: Values) -> float:
        return float(np.mean([[np.linalg.norm(p - q) for q in b] for p in a]))

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    found = drift(x, y, seed=0)
    assert found.energy == pytest.approx(expected)
    assert found.share == pytest.approx(expected / (2 * mean(x, y)))
    alarms = sum(
        drift(random.normal(size=(25, 4)), random.normal(size=(25, 4)), seed, 0.05).drifted
        for seed in range(200)
    )
    assert alarms <= stats.binom.ppf(0.99, 200, 0.05)
    shifted = drift(random.normal(size=(700, 8)), random.normal(0.3, 1, size=(700, 8)), seed=1)
    assert shifted.drifted
    assert shifted.compared == (500, 500)
    assert "re-distil" in shifted.advice
    same = drift(x, x, seed=0)
    assert (same.energy, same.drifted) == (pytest.approx(0), False)


def test_drift_on_the_command_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, shift in (("then.npy", 0.0), ("now.npy", 1.0)):
        np.save(tmp_path / name, random.normal(shift, 1, (60, 4)).astype("f4"))
    found = told("--drift", str(tmp_path / "then.npy"), str(tmp_path / "now.npy"))
    assert found.exit_code == 0
    assert found.stdout.startswith("drift: re-distil: ")
