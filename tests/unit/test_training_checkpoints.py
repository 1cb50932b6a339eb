"""Only whole checkpoints are resumed from."""

from pathlib import Path
from types import SimpleNamespace

from ragdistill.training.checkpoints import MarkComplete, last_complete


def checkpoint(folder: Path, step: int, *, whole: bool) -> Path:
    """What a trainer leaves at ``step``: all of it, or the first files only."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_text("weights")
    if whole:
        mark(folder, step)
    return made


def mark(folder: Path, step: int, *, main: bool = True) -> None:
    state = SimpleNamespace(global_step=step, is_world_process_zero=main)
    MarkComplete().on_save(
        SimpleNamespace(output_dir=str(folder)),  # type: ignore[arg-type]
        state,  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
    )


def test_there_is_none_to_begin_with(tmp_path: Path) -> None:
    assert last_complete(tmp_path / "checkpoints") is None
    assert last_complete(tmp_path) is None


def test_the_newest_is_the_one_of_most_steps(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        checkpoint(tmp_path, step, whole=True)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-100"


def test_one_that_was_cut_short_is_removed_and_not_resumed_from(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 10, whole=True)
    torn = checkpoint(tmp_path, 20, whole=False)
    assert last_complete(tmp_path) == whole
    assert not torn.exists()
    assert (whole / "model.safetensors").exists()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    torn = checkpoint(tmp_path, 20, whole=False)
    assert last_complete(tmp_path) is None
    assert not torn.exists()
    assert (tmp_path / "runs").is_dir()


def test_only_the_main_process_marks_and_only_what_was_saved(tmp_path: Path) -> None:
    torn = checkpoint(tmp_path, 5, whole=False)
    mark(tmp_path, 5, main=False)
    mark(tmp_path, 6)
    assert not (torn / "complete").exists()
    assert not (tmp_path / "checkpoint-6").exists()
