"""Checkpoints that survive ``kill -9``: only whole ones are ever resumed from.

A trainer writes a checkpoint file by file. A marker is written into it last; a folder without the
marker was cut short and is removed.
"""

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragdistill import processes
from ragdistill.files import write_text

_MARKER = "complete"
WEIGHTS = "trainable.safetensors"


class MarkComplete(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Marks each checkpoint when all of it is on disk."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """The trainer has written the last file of this step's checkpoint."""
        if processes.count() > 1:
            processes.gathered()  # Each process has written its own part.
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            write_text(folder / _MARKER, f"{state.global_step}\n")


def last_complete(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``, or None; those cut short are removed."""
    found: list[tuple[int, Path]] = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _MARKER).exists():
            found.append((int(checkpoint.name.rpartition("-")[2]), checkpoint))
        else:
            shutil.rmtree(checkpoint)
    return max(found)[1] if found else None


def save_trainable(model: nn.Module, folder: Path) -> None:
    """Write the weights of ``model`` that are trained to ``folder``, as safetensors by name."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.detach().contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    save_file(weights, folder / WEIGHTS)


def load_trainable(model: nn.Module, folder: Path) -> None:
    """Put what :func:`save_trainable` wrote back into ``model``, in place."""
    missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    if unexpected or trained & set(missing):
        raise ValueError(f"{folder / WEIGHTS} does not hold what is trained")
