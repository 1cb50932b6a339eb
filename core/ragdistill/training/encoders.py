"""The training loop for models of sentence-transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.trainer import BaseTrainer
from sentence_transformers.base.training_args import BaseTrainingArguments
from torch import nn

from ragdistill.training import fitting
from ragdistill.training.fitting import Course, Pace, Scheduled
from ragdistill.training.schedule import Schedule


class EncoderTrainer(Scheduled, BaseTrainer):  # type: ignore[misc,unused-ignore]
    """sentence-transformers' trainer on a fixed schedule of batches."""

    arguments = BaseTrainingArguments

    def get_default_loss(self, model: BaseModel) -> nn.Module:
        """None: the loss is always given."""
        raise NotImplementedError

    def get_batch_sampler(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Schedule:
        """The schedule of the set that is asked for; sizes of batches are the schedule's own."""
        train, held_out = self._schedules
        return train if dataset is self.train_dataset else held_out

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is made from the report, and this one would ask the Hub."""


def run(
    model: BaseModel,
    loss: nn.Module,
    course: Course,
    collator: Any,
    pace: Pace,
    folder: Path,
    maps: Mapping[str, nn.Module],
) -> dict[str, Any]:
    """Train ``model`` in place, as :func:`ragdistill.training.fitting.run` says.

    Args:
        loss: has the model as ``model``; of features and label to a scalar.
        collator: makes the features of rows ``{COLUMN: place}``.
        maps: what is trained besides, by the file that a checkpoint keeps it in.
    """
    parts = {"model": model, "student": model, "loss": loss, "collator": collator, "maps": maps}
    return fitting.run(EncoderTrainer, course, pace, folder, **parts)
