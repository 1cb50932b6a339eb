"""The training loop for language models: transformers' own trainer.

The loss is a module around the student and all that learns with it, and is what the trainer takes for
its model: so several processes agree on the gradients of all of it. It sums over tokens. The sum is
divided once, by the tokens of the whole step, however many batches and processes it comes in.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from ragdistill.losses.targets import IGNORED
from ragdistill.training import fitting
from ragdistill.training.fitting import Course, Pace, Scheduled
from ragdistill.training.schedule import Schedule

LABELS = "labels"
"""What a collator names the tokens that are learnt, :data:`IGNORED` for those that are not."""


@runtime_checkable
class InParts(Protocol):
    """A loss with parts that are told apart."""

    def parts(self) -> dict[str, float]:
        """Of each part by name the mean over tokens, unweighted, since it was asked last."""


class LanguageTrainer(Scheduled):
    """transformers' trainer on a fixed schedule of batches, whose held-out loss is a mean over tokens."""

    options: ClassVar[Mapping[str, Any]] = {
        "remove_unused_columns": False,
        "prediction_loss_only": True,
        "label_names": [LABELS],
        "ddp_find_unused_parameters": False,
    }
    # Read by transformers: the loss is divided by the tokens of a step, not once more by its batches.
    loss_is_scaled_for_ga = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # else the tokens of a step are not counted
        self.args._n_gpu = min(self.args.n_gpu, 1)  # rows of a batch are not dealt out to threads
        self._held_out = [0.0, 0]

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of the schedule."""
        self.accelerator.even_batches = False  # they are as many for each process
        return self._loader(self._schedules[0])

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Those of the held-out loss."""
        return self._loader(self._schedules[1])

    def _loader(self, schedule: Schedule) -> DataLoader[Any]:
        rows: Any = self.train_dataset
        loader = DataLoader(rows, batch_sampler=schedule, collate_fn=self.data_collator)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """A batch's share of the mean over the tokens of the step, in all processes: of their gradients
        the mean is taken."""
        if num_items_in_batch is None:
            num_items_in_batch = (inputs[LABELS] != IGNORED).sum()
        tokens = torch.as_tensor(num_items_in_batch).clamp(min=1)
        normaliser = tokens / self.accelerator.num_processes
        loss: Tensor = model(**inputs, normaliser=normaliser)
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[Tensor, None, None]:
        """The sum over a batch; :meth:`evaluation_loop` takes the mean."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            total: Tensor = model(**inputs, normaliser=1.0)
        self._held_out[0] += float(total)
        self._held_out[1] += int((inputs[LABELS] != IGNORED).sum())
        return total, None, None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As transformers has it, with the parts of the loss (of this process's batches)."""
        if logs.keys() & fitting.LOSSES.keys() and isinstance(self.model, InParts):
            told = self.model.parts()
            logs = logs | {f"{fitting.PART}{name}": value for name, value in told.items()}
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As transformers has it, but for batches of unequal numbers of tokens."""
        self._held_out = [0.0, 0]
        output = super().evaluation_loop(*args, **kwargs)
        total, tokens = self._held_out
        metrics = (output.metrics or {}) | {"eval_loss": total / max(tokens, 1)}
        return output._replace(metrics=metrics)


def run(
    model: nn.Module,
    loss: nn.Module,
    course: Course,
    collator: Any,
    pace: Pace,
    folder: Path,
    maps: Mapping[str, nn.Module],
    kind: Callable[..., LanguageTrainer] = LanguageTrainer,
) -> dict[str, Any]:
    """Train ``model`` in place, as :func:`ragdistill.training.fitting.run` says.

    Args:
        loss: has the model among its modules, and the maps that are trained; of a batch and
            ``normaliser``, what the sum over tokens is divided by, to a scalar.
        collator: of rows ``{COLUMN: place}`` to a batch by name of argument, ``labels`` among them; for
            a blank row one without labels.
        maps: what a checkpoint keeps besides the model, by file.
        kind: the trainer, made of ``LanguageTrainer``'s arguments.
    """
    parts = {"model": loss, "student": model, "collator": collator, "maps": maps}
    return fitting.run(kind, course, pace, folder, **parts)
