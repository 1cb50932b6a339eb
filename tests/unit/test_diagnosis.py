"""What figures of a run are said to mean, and the verb that says it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ragdistill.cli import main
from ragdistill.diagnosis import of_agreement, of_calibration, of_coverage, of_curve
from ragdistill.metrics.calibration import best_temperature

GOOD = {"kl": 0.2, "top1": 0.9, "correlation": 0.95, "entropy": 1.0}
SYSTEM = {"ece": 0.05, "temperature": 1.0, "accuracy": 0.7, "confidence": 0.7}


@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        ([3.0, 2.0, 1.0], "still falling"),
        ([3.0, 1.0, 1.5], "rose from 1.0000 to 1.5000"),
        ([3.0, 1.0, 0.999], None),
        ([3.0, 1.0], None),
    ],
)
def test_a_curve_says_whether_to_go_on(held_out: list[float], said: str | None) -> None:
    rows = [{"step": step, "held_out": loss} for step, loss in enumerate(held_out)]
    found = of_curve([{"step": 0, "train": 9.0}, *rows])
    assert [said in each.what for each in found] == ([] if said is None else [True])
    assert all(each.change for each in found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, None),
        ({"kl": 1.5}, "1.50 nats"),
        ({"top1": 0.4}, "40.0%"),
        ({"correlation": 0.5}, "correlate by 0.50"),
        ({"correlation": None}, None),
        ({"entropy": 0.01}, "0.010 nats"),
    ],
)
def test_agreement_below_what_the_guides_ask_is_said(
    more: dict[str, float | None], said: str | None
) -> None:
    found = of_agreement(GOOD | more)
    assert [said in each.what for each in found] == ([] if said is None else [True])


def test_calibration_and_coverage_are_said() -> None:
    assert of_calibration({"teacher": SYSTEM, "student": SYSTEM}) == []
    sure, ill = SYSTEM | {"temperature": 2.0}, SYSTEM | {"ece": 0.2, "temperature": 1.7}
    told = of_calibration({"teacher": sure | {"accuracy": 0.3}, "student": ill})
    assert ["2.0" in told[0].change, "30.0%" in told[1].what, "1.70" in told[2].change] == [
        True
    ] * 3
    assert of_coverage({"share_of_tokens": 0.9}) == []
    assert "60.0%" in of_coverage({"share_of_tokens": 0.6})[0].what


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_that_undoes_what_was_done_is_the_best(heat: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(4000, 12))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probs.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    found = best_temperature((logits * heat).astype(np.float32), labels)
    assert found == pytest.approx(heat, rel=0.06)
    with pytest.raises(ValueError, match="no tokens"):
        best_temperature(np.empty((0, 3), np.float32), np.empty(0, np.int64))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "holds no run.json"),
        ({"stages": {}}, "has trained no student yet"),
        ({"stages": {"train": {"state": "done"}}, "component": "oven"}, "no component 'oven'"),
    ],
)
def test_what_cannot_be_diagnosed_is_said_in_one_line(
    tmp_path: Path, state: dict[str, object] | None, said: str
) -> None:
    if state is not None:
        whole = {"schema": 1, "config": {}, "inputs": {}} | state
        (tmp_path / "run.json").write_text(json.dumps(whole))
    result = CliRunner().invoke(main, ["diagnose", str(tmp_path)])
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.splitlines()) == 1
