"""Fitting a student to what a teacher wrote: sequence-level distillation (Kim and Rush, arXiv:1606.07947), in the
kernel's own loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import set_seed

from ragdistill.data.sampling import sample
from ragdistill.losses.targets import IGNORED
from ragdistill.training import language
from ragdistill.training.fitting import BLANK, COLUMN, Pace
from ragdistill.training.language import LABELS
from ragdistill.training.preparing import without_dropout
from ragdistill_query_rewriter.lesson import HELD_OUT, course_of
from ragdistill_query_rewriter.sequences import Pair, SequenceStudent

_APART = 0.1
"""Share of what is learnt that the held-out loss is of, where nothing else is."""


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe(Pace):
    """How the student is fitted."""

    epochs: float
    batch_tokens: int
    words: bool = True
    """Whether the embeddings are trained: those of a pretrained language model stay as they are, for a few
    queries have few of its words."""


class Batches:
    """The collator: padded inputs of some pairs."""

    def __init__(self, student: SequenceStudent, pairs: Sequence[Pair]) -> None:
        self._student, self._pairs = student, pairs

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
        """What ``SequenceStudent.inputs`` makes of rows ``{COLUMN: place}``; of blank rows no labels."""
        made = self._student.inputs([self._pairs[max(0, row[COLUMN])] for row in rows])
        if all(row[COLUMN] == BLANK for row in rows):
            del made[LABELS]
        return made


class SequenceLoss(nn.Module):
    """Cross-entropy of what is to be written, as ``ragdistill.training.language`` calls it: a sum over tokens."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, normaliser: Tensor | float, labels: Tensor | None = None, **inputs: Tensor
    ) -> Tensor:
        """Scalar; the rest is that of ``SequenceStudent.inputs``, ``labels`` ``[b, l]``."""
        logits: Tensor = self.network(**inputs, use_cache=False).logits
        if labels is None:
            return 0 * logits.sum()
        told = labels != IGNORED
        # Only what is learnt is brought to float32: most tokens of a prompt teach nothing.
        loss = functional.cross_entropy(logits[told].float(), labels[told], reduction="sum")
        return loss / normaliser


def fit(
    student: SequenceStudent,
    learnt: Sequence[Pair],
    chosen: Sequence[Pair],
    recipe: SequenceRecipe,
    folder: Path,
) -> dict[str, Any]:
    """Train ``student`` in place; returns what happened. See :func:`ragdistill.training.language.run`.

    Args:
        chosen: what the held-out loss is of; where there is nothing, a tenth of what is ``learnt`` is taken.
    """
    set_seed(recipe.seed)
    network = student.network
    without_dropout(network)
    if not recipe.words:
        network.get_input_embeddings().requires_grad_(False)
    first, apart = _parted(learnt, chosen, recipe.seed)
    course = course_of(
        [len(pair) for pair in first],
        [len(pair) for pair in apart],
        epochs=recipe.epochs,
        batch_tokens=recipe.batch_tokens,
        seed=recipe.seed,
    )
    batches = Batches(student, [*first, *apart])
    network.train()
    found = language.run(network, SequenceLoss(network), course, batches, recipe, folder, {})
    network.eval()
    return found | {"items": len(first), "held_out_items": len(apart)}


def _parted(
    learnt: Sequence[Pair], chosen: Sequence[Pair], seed: int
) -> tuple[list[Pair], list[Pair]]:
    if chosen:
        places = sample(range(len(chosen)), HELD_OUT, seed, key=str)
        return list(learnt), [chosen[place] for place in places]
    wanted = min(HELD_OUT, max(1, round(_APART * len(learnt))))
    places = sample(range(len(learnt)), wanted, seed, key=str)
    kept = [pair for place, pair in enumerate(learnt) if place not in {*places}]
    return kept or list(learnt), [learnt[place] for place in places]
