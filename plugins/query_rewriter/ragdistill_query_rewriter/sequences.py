"""The students that write expansions: encoder-decoders and causal language models.

What a query is expanded to is a text of variants between ``|||``; a query that is best left alone is followed
by nothing, so that a student says so with its first token.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
)

from ragdistill import causal
from ragdistill.batching import token_budget_batches
from ragdistill.data.collection import Query
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError, loading
from ragdistill.local_writer import BATCH_TOKENS
from ragdistill.losses.targets import IGNORED
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training.language import LABELS
from ragdistill.training.pruning import check_config, choose_layers, keep_layers, layer_list
from ragdistill_query_rewriter import settings
from ragdistill_query_rewriter.expansions import SEPARATOR, joined, separated
from ragdistill_query_rewriter.settings import SequenceSettings
from ragdistill_query_rewriter.ways import Way

WINDOW = 128
"""Tokens of a query, where that is not said."""
_ASKED = "expand query: "
"""Before a query that an encoder-decoder reads: T5 is told what to do in words."""
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is read and what is to be written, as token ids; the last ends it."""

    source: list[int]
    target: list[int]

    def __len__(self) -> int:
        return len(self.source) + len(self.target)


class SequenceStudent(ABC):
    """A network that writes, and its tokenizer."""

    kind: ClassVar[str]

    def __init__(self, network: Any, tokenizer: Any, told: SequenceSettings) -> None:
        self.network, self.tokenizer, self.settings = network, tokenizer, told
        self.widened = self._separate()
        """Whether the separator is a new word."""

    @abstractmethod
    def source(self, query: str) -> list[int]:
        """What is read of ``query``, at most ``window`` tokens."""

    @abstractmethod
    def target(self, variants: Sequence[str]) -> list[int]:
        """What is to be written, and what ends it."""

    @abstractmethod
    def inputs(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Padded inputs, and ``labels`` ``[b, l]``: of each place of the logits the token that comes next,
        :data:`IGNORED` where none is learnt."""

    @abstractmethod
    def write(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """What is written after sources that fit into memory together, at most ``new_tokens`` each."""

    @property
    def way(self) -> Way:
        """How its expansions are searched with."""
        return Way(self.settings.combine, self.settings.original_weight)

    def pair(self, query: str, variants: Sequence[str]) -> Pair:
        """A query and what it is expanded to."""
        return Pair(self.source(query), self.target(variants))

    def expand(self, queries: Sequence[str]) -> list[list[str]]:
        """The variants of each; none where it is to be left alone."""
        self.network.eval()
        sources = [self.source(query) for query in queries]
        found: list[list[str]] = [[] for _ in queries]
        lengths = [len(source) + self.settings.new_tokens for source in sources]
        for places in token_budget_batches(lengths, BATCH_TOKENS[self.network.device.type]):
            written = self.write([sources[place] for place in places])
            for place, ids in zip(places, written, strict=True):
                found[place] = separated(self.tokenizer.decode(ids, skip_special_tokens=True))
        return found

    def rewrite(self, queries: Sequence[Query]) -> list[str]:
        """The queries as they are to be searched with; see ``Way.text``."""
        texts = [query.text for query in queries]
        pairs = zip(texts, self.expand(texts), strict=True)
        return [self.way.text(*each) if each[1] else each[0] for each in pairs]

    def on(self, device: str) -> Self:
        """The same, where models run."""
        self.network = self.network.to(pick_device(device))
        return self

    def appending(self) -> Self:
        """The same, whose expansions go behind the query whatever it was trained for: a query that stands
        by itself, where nobody fuses."""
        self.settings = replace(self.settings, combine="append")
        return self

    def capped(self, new_tokens: int) -> None:
        """Write no more than so many tokens from now on."""
        self.settings = replace(self.settings, new_tokens=new_tokens)

    def save(self, folder: Path) -> None:
        """Leave it in ``folder``, for the ecosystem's own classes and :func:`load`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.settings.write(folder)

    def _separate(self) -> bool:
        """Give the tokenizer a word for the separator where it cannot write it."""
        asked = joined(("a", "b"))
        ids = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
        if SEPARATOR in self.tokenizer.decode(ids, skip_special_tokens=True):
            return False
        self.tokenizer.add_tokens([SEPARATOR])
        self.network.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        return True

    def _padded(self, rows: Sequence[Sequence[int]], with_: int) -> Tensor:
        wide = max(map(len, rows))
        return torch.tensor([[*row, *[with_] * (wide - len(row))] for row in rows])


class Seq2SeqStudent(SequenceStudent):
    """An encoder-decoder: T5, BART."""

    kind = "seq2seq"

    def source(self, query: str) -> list[int]:
        """See :class:`SequenceStudent`."""
        window = self.settings.window
        told = self.tokenizer(f"{_ASKED}{query}", truncation=True, max_length=window)
        ids: list[int] = told["input_ids"]
        return ids

    def target(self, variants: Sequence[str]) -> list[int]:
        """See :class:`SequenceStudent`."""
        ids: list[int] = self.tokenizer(joined(variants))["input_ids"]
        return ids

    def inputs(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See :class:`SequenceStudent`."""
        pad, start = self._pad, self._start
        sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
        begun = [[start, *target[:-1]] for target in targets]
        return {
            "input_ids": self._padded(sources, pad),
            "attention_mask": self._padded([[1] * len(each) for each in sources], 0),
            "decoder_input_ids": self._padded(begun, pad),
            LABELS: self._padded(targets, IGNORED),
        }

    @torch.inference_mode()
    def write(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """See :class:`SequenceStudent`."""
        device = self.network.device
        seen = self._padded([[1] * len(each) for each in sources], 0)
        options = GenerationConfig(  # type: ignore[no-untyped-call,unused-ignore]
            max_new_tokens=self.settings.new_tokens,
            do_sample=False,
            num_beams=1,
            decoder_start_token_id=self._start,
            eos_token_id=causal.ending_ids(self.network, self.tokenizer) or None,
            pad_token_id=self._pad,
        )
        found = self.network.generate(
            input_ids=self._padded(sources, self._pad).to(device),
            attention_mask=seen.to(device),
            generation_config=options,
        )
        written: list[list[int]] = found[:, 1:].tolist()
        return written

    @property
    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def _start(self) -> int:
        told = self.network.config.decoder_start_token_id
        return self._pad if told is None else int(told)


class CausalStudent(SequenceStudent):
    """A language model that goes on where the query ends."""

    kind = "causal"

    def source(self, query: str) -> list[int]:
        """See :class:`SequenceStudent`; of a query that is too long the end is left out."""
        asked = causal.text_ids(self.tokenizer, query)[: self.settings.window]
        cut = query if len(asked) < self.settings.window else self.tokenizer.decode(asked)
        return causal.token_ids(self.tokenizer, causal.as_request(self.tokenizer, cut))

    def target(self, variants: Sequence[str]) -> list[int]:
        """See :class:`SequenceStudent`."""
        return [*causal.token_ids(self.tokenizer, joined(variants)), self.ends[0]]

    @property
    def ends(self) -> list[int]:
        """The tokens that end what it writes.

        Raises:
            UserError: there is none.
        """
        found = causal.ending_ids(self.network, self.tokenizer)
        if not found:
            raise UserError(
                "has no token that ends a reply",
                where="--student-model",
                mend="choose a language model that has one",
            )
        return found

    def inputs(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See :class:`SequenceStudent`."""
        rows = [[*pair.source, *pair.target[:-1]] for pair in pairs]
        told = [[*[IGNORED] * (len(pair.source) - 1), *pair.target] for pair in pairs]
        return {
            "input_ids": self._padded(rows, int(self.tokenizer.pad_token_id or 0)),
            "attention_mask": self._padded([[1] * len(each) for each in rows], 0),
            LABELS: self._padded(told, IGNORED),
        }

    def write(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """See :class:`SequenceStudent`."""
        ends = {*self.ends}
        found = causal.write(self.network, self.tokenizer, sources, self.settings.new_tokens)
        return [[token for token in reply if token not in ends] for reply in found]


_KINDS: dict[str, tuple[type[SequenceStudent], Any]] = {
    "seq2seq": (Seq2SeqStudent, AutoModelForSeq2SeqLM),
    "causal": (CausalStudent, AutoModelForCausalLM),
}


def make(
    base: ResolvedModel, device: str, told: SequenceSettings, layers: str | None
) -> SequenceStudent:
    """A student that has learnt nothing yet, in float32.

    Raises:
        UserError: ``base`` does not load, has no such ``layers``, or nothing ends what it writes.
    """
    if told.student == "causal":
        network, tokenizer = causal.load(base, "cpu", "float32"), causal.load_tokenizer(base)
        if layers is not None:
            keep_layers(network, choose_layers(layers, len(layer_list(network))))
            check_config(network)
        student = CausalStudent(network.to(pick_device(device)), tokenizer, told)
        _ = student.ends
        return student
    with loading(base.path, "encoder-decoder"):
        network = AutoModelForSeq2SeqLM.from_pretrained(base.path, dtype=torch.float32, **_LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(base.path, **_LOCAL)
    return Seq2SeqStudent(network.to(pick_device(device)), tokenizer, told)


def load(folder: Path, device: str) -> SequenceStudent:
    """What :meth:`SequenceStudent.save` left.

    Raises:
        UserError: it is not there, or does not load.
    """
    told = settings.read_sequence(folder)
    kind, auto = _KINDS[told.student]
    with loading(folder, f"{told.student} model"):
        network = auto.from_pretrained(folder, dtype=torch.float32, **_LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(folder, **_LOCAL)
    return kind(network.to(pick_device(device)).eval(), tokenizer, told)
