"""The student: a causal language model, whole or with some of its layers left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragdistill.causal import Precision, load, load_tokenizer, shell
from ragdistill.data.sampling import sample
from ragdistill.encoder import pick_device
from ragdistill.errors import loading
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training import fake_int8, lora
from ragdistill.training.angular import keep_turning, layer_states, without_block
from ragdistill.training.fitting import COLUMN
from ragdistill.training.leaving_out import keep_saying
from ragdistill.training.pruning import check_config, choose_layers, keep_layers, layer_list
from ragdistill.training.reading import INPUTS
from ragdistill.training.watching import last_projections
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.lesson import PLACES, Batches, Lesson

Prune = Literal["divergence", "even", "angular", "block"]
"""What is left when those are gone, one after another, without which it says what it said most nearly;
evenly spread layers; those that turn their inputs most; all but the block that turns its input least."""
PROBED, HEARD = 64, 2
"""Rows of a lesson by which layers are chosen, by how they turn and by what is said without them."""


@dataclass
class Student:
    """A network and its tokenizer."""

    network: Any
    tokenizer: Any
    library: ClassVar[str] = "transformers"

    @classmethod
    def load(cls, folder: Path, device: str, precision: Precision = "float32") -> "Student":
        """The student that was saved in ``folder``.

        Raises:
            UserError: it does not load.
        """
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with loading(folder, "causal language model"):
            network: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=getattr(torch, precision), **options
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
        return cls(network.to(pick_device(device)).eval(), tokenizer)

    def save(self, folder: Path) -> None:
        """Leave it in ``folder``, where transformers and servers load it: safetensors, tokenizer, chat
        template."""
        self.network.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))


def make(
    model: ResolvedModel,
    device: str,
    *,
    layers: str | None = None,
    prune: Prune = "even",
    lesson: Lesson | None = None,
) -> Student:
    """The student before it has learnt anything, in float32: in half precision the small steps of
    training would be lost.

    Args:
        layers: how many are kept, or which (``0,2,5``); None for all.
        prune: how those to keep are chosen, where only their number is given.
        lesson: what is measured for that; not needed for an even choice.

    Raises:
        UserError: the model does not load, or cannot be made smaller as asked.
    """
    network, tokenizer = load(model, pick_device(device), "float32"), load_tokenizer(model)
    if layers is not None:
        keep = chosen_layers(network, layers, prune, lesson)
        keep_layers(network, keep)
        check_config(network)
    return Student(network, tokenizer)


def check_made(model: ResolvedModel, config: GeneratorConfig, layers: str | None) -> None:
    """Refuse a student that could not be made of ``model``, or could not be trained as it is asked to be, as
    far as its configuration tells: before anything is asked for it.

    Args:
        layers: as of :func:`make`.

    Raises:
        UserError: naming the option.
    """
    if layers is None and config.lora is None and not config.qat and config.attention is None:
        return
    network = shell(model)
    if layers is not None:
        total = len(layer_list(network))
        if config.prune == "even" or "," in layers:  # else nobody knows yet which
            keep_layers(network, choose_layers(layers, total))
            check_config(network)
    if config.lora is not None:
        lora.linear_layers(network.base_model)
    if config.qat:
        fake_int8.linear_layers(network)
    if config.attention is not None:
        last_projections(network)


def chosen_layers(
    network: Any, layers: str, prune: Prune, lesson: Lesson | None = None
) -> list[int]:
    """Numbers of the layers that are kept; arguments and errors as of :func:`make`."""
    keep = choose_layers(layers, len(layer_list(network)))
    if prune == "even" or "," in layers:
        return keep
    if lesson is None:
        raise ValueError(f"nothing to measure for --prune {prune}")
    if prune == "divergence":
        return _kept_saying(network, lesson, len(keep))
    states = measured(network, lesson)
    return (without_block if prune == "block" else keep_turning)(states, len(keep))


def _kept_saying(network: Any, lesson: Lesson, count: int) -> list[int]:
    """By what is said of all tokens of a few rows."""
    lesson = lesson.read_by(network)
    rows = sample(
        lesson.rows(range(len(lesson.examples))), HEARD, 0, key=lambda row: str(row.tokens)
    )
    batch = Batches(lesson, rows)([{COLUMN: place} for place in range(len(rows))])
    wide = batch["input_ids"].shape[1]
    places = [
        number * wide + place for number, row in enumerate(rows) for place in range(len(row.tokens))
    ]
    return keep_saying(network, batch, torch.tensor(places), count)


def measured(network: Any, lesson: Lesson) -> Tensor:
    """What enters each layer and what leaves the last, where answers are foretold, in the first rows
    of a lesson: ``[layers + 1, n, h]``."""
    lesson = lesson.read_by(network)
    rows = lesson.rows(range(len(lesson.examples)))[:PROBED]
    batches = Batches(lesson, rows)
    found = []
    for place in range(len(rows)):
        batch = batches([{COLUMN: place}])
        inputs = {name: batch[name] for name in INPUTS & batch.keys()}
        found.append(layer_states(network, inputs, batch[PLACES]).cpu())
    return torch.cat(found, dim=1)
