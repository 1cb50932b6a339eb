"""The students that write expansions: encoder-decoders and causal language models.

What a query is expanded to is a text of variants between ``|||``; a query that is best left alone is followed
by nothing, so that a student says so with its first token.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ragdistill import causal
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError, loading
from ragdistill.export.causal.runner import TorchCausal
from ragdistill.export.seq2seq import TorchSeq2Seq, padded
from ragdistill.losses.targets import IGNORED
from ragdistill.models.resolve import ResolvedModel
from ragdistill.training.language import LABELS
from ragdistill.training.pruning import check_config, choose_layers, keep_layers, layer_list
from ragdistill_query_rewriter import settings
from ragdistill_query_rewriter.expander import Expander
from ragdistill_query_rewriter.expansions import SEPARATOR, joined
from ragdistill_query_rewriter.settings import SequenceSettings

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is read and what is to be written, as token ids; the last ends it."""

    source: list[int]
    target: list[int]

    def __len__(self) -> int:
        return len(self.source) + len(self.target)


class SequenceStudent(Expander):
    """A network in PyTorch that writes, and its tokenizer."""

    kind: ClassVar[str]

    def __init__(self, network: Any, tokenizer: Any, told: SequenceSettings) -> None:
        super().__init__(tokenizer, told)
        self.network = network
        self.widened = self._separate()
        """Whether the separator is a new word."""

    @abstractmethod
    def target(self, variants: Sequence[str]) -> list[int]:
        """What is to be written, and what ends it."""

    @abstractmethod
    def inputs(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Padded inputs, and ``labels`` ``[b, l]``: of each place of the logits the token that comes next,
        :data:`IGNORED` where none is learnt."""

    def pair(self, query: str, variants: Sequence[str]) -> Pair:
        """A query and what it is expanded to."""
        return Pair(self.source(query), self.target(variants))

    @property
    def device(self) -> str:
        """See :class:`Expander`."""
        return str(self.network.device.type)

    def expand(self, queries: Sequence[str]) -> list[list[str]]:
        """See :class:`Expander`."""
        self.network.eval()
        return super().expand(queries)

    def on(self, device: str) -> Self:
        """The same, where models run."""
        self.network = self.network.to(pick_device(device))
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


class Seq2SeqStudent(SequenceStudent):
    """An encoder-decoder: T5, BART."""

    kind = "seq2seq"

    def __init__(self, network: Any, tokenizer: Any, told: SequenceSettings) -> None:
        super().__init__(network, tokenizer, told)
        self._runner = TorchSeq2Seq(network, tokenizer)
        self._runner.greedily()

    @property
    def runner(self) -> TorchSeq2Seq:
        """See :class:`Expander`."""
        return self._runner

    def target(self, variants: Sequence[str]) -> list[int]:
        """See :class:`SequenceStudent`."""
        ids: list[int] = self.tokenizer(joined(variants))["input_ids"]
        return ids

    def inputs(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See :class:`SequenceStudent`."""
        pad, start = self.runner.pad, self.runner.start
        sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
        begun = [[start, *target[:-1]] for target in targets]
        return {
            "input_ids": padded(sources, pad),
            "attention_mask": padded([[1] * len(each) for each in sources], 0),
            "decoder_input_ids": padded(begun, pad),
            LABELS: padded(targets, IGNORED),
        }

    @property
    def ends(self) -> list[int]:
        """See :class:`Expander`."""
        return self.runner.ends

    def replies(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """See :class:`Expander`."""
        return self.runner.write(sources, self.settings.new_tokens)


class CausalStudent(SequenceStudent):
    """A language model that goes on where the query ends."""

    kind = "causal"

    @property
    def runner(self) -> TorchCausal:
        """See :class:`Expander`."""
        return TorchCausal(self.network, self.tokenizer)

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
            "input_ids": padded(rows, int(self.tokenizer.pad_token_id or 0)),
            "attention_mask": padded([[1] * len(each) for each in rows], 0),
            LABELS: padded(told, IGNORED),
        }

    def replies(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """See :class:`Expander`."""
        return causal.write(self.network, self.tokenizer, sources, self.settings.new_tokens)


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
