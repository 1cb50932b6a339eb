"""The student that picks words: it reads a turn with its conversation, and says of each word of the
conversation whether the turn lacks it.

QuReTeC (Voskarides et al., arXiv:2005.11723), with one difference: a word is decided on once, by the
likeliest of the places where it stands, for BM25 knows no places.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

from ragdistill.batching import token_budget_batches
from ragdistill.encoder import BATCH_TOKENS, pick_device
from ragdistill.errors import UserError, loading
from ragdistill.export.folder import write_config, write_tokenizer
from ragdistill.models.entry import architecture
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training.pruning import choose_layers, keep_layers, layer_list
from ragdistill_query_rewriter import settings
from ragdistill_query_rewriter.reading import Page, PageReader
from ragdistill_query_rewriter.selecting import Logits, Selector
from ragdistill_query_rewriter.settings import Settings

LABELS = ("LEAVE", "ADD")


class TermStudent(Selector):
    """A token classifier in PyTorch."""

    def __init__(self, network: Any, tokenizer: Any, told: Settings) -> None:
        self.network, self.tokenizer, self.settings = network, tokenizer, told
        self.reader = PageReader(copied(tokenizer), told.window)

    @property
    def with_types(self) -> bool:
        """Whether it is told turn from conversation."""
        return (
            "token_type_ids" in self.tokenizer.model_input_names
            and int(getattr(self.network.config, "type_vocab_size", 0)) > 1
        )

    def inputs(self, pages: Sequence[Page]) -> dict[str, Tensor]:
        """Padded tensors ``[b, l]``, on the CPU."""
        longest = max(len(page.ids) for page in pages)
        shape = (len(pages), longest)
        ids = torch.full(shape, int(self.tokenizer.pad_token_id or 0))
        mask, types = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        for row, page in enumerate(pages):
            ids[row, : len(page.ids)] = torch.tensor(page.ids)
            types[row, : len(page.ids)] = torch.tensor(page.types)
            mask[row, : len(page.ids)] = 1
        told = {"input_ids": ids, "attention_mask": mask}
        return told | ({"token_type_ids": types} if self.with_types else {})

    @torch.inference_mode()
    def logits(self, pages: Sequence[Page]) -> list[Logits]:
        """See :class:`Selector`."""
        device = self.network.device
        self.network.eval()
        found: list[Logits] = [np.zeros(0, np.float32)] * len(pages)
        lengths = [len(page.ids) for page in pages]
        for batch in token_budget_batches(lengths, BATCH_TOKENS[device.type]):
            told = {k: v.to(device) for k, v in self.inputs([pages[p] for p in batch]).items()}
            said = margins(self.network(**told).logits).float().cpu().numpy()
            for place, row in zip(batch, said, strict=True):
                found[place] = row[: lengths[place]]
        return found

    def save(self, folder: Path) -> None:
        """Leave it in ``folder``, for ``AutoModelForTokenClassification`` and :meth:`load`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder)
        write_config(self.network.config, folder, architectures=[type(self.network).__name__])
        write_tokenizer(self.tokenizer, folder)
        self.settings.write(folder)

    @classmethod
    def load(cls, folder: Path, device: str) -> "TermStudent":
        """What :meth:`save` left.

        Raises:
            UserError: it is not there, or does not load.
        """
        told = settings.read(folder)
        with loading(folder, "token classifier"):
            network = AutoModelForTokenClassification.from_pretrained(folder, **_LOCAL)
            tokenizer = AutoTokenizer.from_pretrained(folder, **_LOCAL)
        return cls(network.to(pick_device(device)).eval(), tokenizer, told)


_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def margins(logits: Tensor) -> Tensor:
    """``[..., 2]`` to ``[...]``: those of ``ADD`` less those of ``LEAVE``."""
    return logits[..., 1] - logits[..., 0]


def copied(tokenizer: Any) -> Tokenizer:
    """The fast tokenizer behind one of transformers, by itself: truncation and padding are settings of
    the object.

    Raises:
        UserError: there is none, so places of words cannot be told.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "has no fast tokenizer, so it cannot be told which token a word begins with",
            where="--student-model",
            mend="choose another, as MiniLM",
        )
    return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())


def make(
    base: ResolvedModel,
    device: str,
    *,
    layers: str | None,
    window: int | None,
    most: int,
    seed: int,
) -> TermStudent:
    """A student that has learnt nothing yet: ``base`` with a new head.

    Raises:
        UserError: it does not load, is no encoder, or reads fewer tokens than ``window``.
    """
    _check_encoder(base)
    with loading(base.path, "encoder"):
        config = AutoConfig.from_pretrained(base.path, **_LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(base.path, **_LOCAL)
        torch.manual_seed(seed)
        network = AutoModelForTokenClassification.from_pretrained(
            base.path,
            id2label=dict(enumerate(LABELS)),
            label2id={name: number for number, name in enumerate(LABELS)},
            **_LOCAL,
        )
    if layers is not None:
        body = network.base_model
        keep_layers(body, choose_layers(layers, len(layer_list(body))))
    positions = int(getattr(config, "max_position_embeddings", WINDOW))
    told = Settings(fitting(window, positions), most=most)
    return TermStudent(network.to(pick_device(device)), tokenizer, told)


WINDOW = 512
"""Tokens of a turn with its conversation, where that is not said."""


def fitting(window: int | None, positions: int) -> int:
    """The window asked for, or the usual one.

    Raises:
        UserError: the model has positions for fewer.
    """
    if window is not None and window > positions:
        raise UserError(
            f"{window} tokens are more than the student reads ({positions})",
            where="--window",
            mend="lower it, or choose another --student-model",
        )
    return window or min(WINDOW, positions)


def _check_encoder(base: ResolvedModel) -> None:
    if base.path.is_file() or architecture(base.path).endswith("ForCausalLM"):
        raise UserError(
            "reads from left to right alone, so it does not see what follows a word",
            where=f"--student-model: {base.path}",
            mend="choose an encoder, as MiniLM",
        )
