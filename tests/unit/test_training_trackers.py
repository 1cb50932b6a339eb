"""Experiment trackers: named, installed, and told where their files belong."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils

from ragdistill.cli import main
from ragdistill.errors import UserError
from ragdistill.training import trackers
from tiny_models import save_searched, save_tiny


class Notes(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """A tracker of one's own."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.seen.append({"run": args.run_name, "step": state.global_step, **(logs or {})})


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[Notes]:
    """:class:`Notes`, registered with the trainer as ``notes``."""
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "notes", Notes)
    monkeypatch.setattr(Notes, "seen", [])
    return Notes


def _run(folder: Path, *more: str) -> dict[str, float]:
    """Train in ``folder/run``; the losses that report.json tells, by kind."""
    words = ["embedder", "--teacher", str(save_tiny(folder / "teacher")), "--student-layers", "2"]
    words += ["--data", str(save_searched(folder / "data", documents=40, queries=10))]
    words += ["--out", str(folder / "run"), "--store", str(folder / "store"), "--epochs", "1"]
    words += ["--stages", "collect,train", "--json"]
    result = CliRunner().invoke(main, [*words, *more])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["training"]["losses"]
    return {f"{row['step']} {key}": row[key] for row in rows for key in row if key != "step"}


def test_a_tracker_hears_every_loss_that_the_report_tells(tmp_path: Path, own: type[Notes]) -> None:
    told = _run(tmp_path, "--report-to", "notes")
    names = {"loss": "train", "eval_loss": "held_out"}
    heard = {
        f"{row['step']} {names[key]}": row[key] for row in own.seen for key in names if key in row
    }
    assert heard == told
    assert {row["run"] for row in own.seen} == {"run"}


def test_no_tracker_hears_anything_unless_it_is_named(tmp_path: Path, own: type[Notes]) -> None:
    _run(tmp_path)
    assert own.seen == []
    assert not (tmp_path / "run" / trackers.FOLDER).exists()


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
def test_tensorboard_finds_the_losses_in_the_run_folder(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = _run(tmp_path, "--report-to", "tensorboard")
    kept = EventAccumulator(str(tmp_path / "run" / trackers.FOLDER / "tensorboard"))
    kept.Reload()
    found = {f"{event.step} held_out": event.value for event in kept.Scalars("eval/loss")}
    assert found == pytest.approx({k: v for k, v in told.items() if k.endswith("held_out")})


def test_what_the_environment_says_goes_before_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with trackers.writing_to(tmp_path, ["wandb", "mlflow"]):
        assert os.environ["WANDB_DIR"] == "/elsewhere"
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/trackers/mlflow.db"
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_names_are_read_once_each() -> None:
    pytest.importorskip("tensorboard")
    assert trackers.parse(" tensorboard,,tensorboard ") == ("tensorboard",)
    assert trackers.parse("none") == trackers.parse("") == ()


def test_none_beside_a_tracker_is_no_tracker() -> None:
    with pytest.raises(UserError, match="no tracker 'none'"):
        trackers.parse("none,tensorboard")
