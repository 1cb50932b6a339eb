"""An encoder-decoder (T5, BART) as it stands, and for ctranslate2 in int8 or fp32; see ``export.causal`` for
language models.

What ctranslate2 (4.8) takes for granted of transformers' models is put right here: every T5 of transformers 5
says that its embeddings are tied, of which ctranslate2 concludes that logits are scaled, and its BARTs no
longer say where they normalise.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from ragdistill import causal
from ragdistill.errors import loading
from ragdistill.export.causal.ctranslate import Quantization, convert, library, opened, phantoms
from ragdistill.export.causal.runner import Floats, Ids, Replies
from ragdistill.export.folder import Seq2SeqRecord, atomic_folder, read_record_of

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_VOCABULARY = "shared_vocabulary.json"


def padded(rows: Sequence[Ids], with_: int) -> Tensor:
    """``rows`` of token ids as one ``[b, l]``, filled up on the right."""
    wide = max(map(len, rows))
    return torch.tensor([[*row, *[with_] * (wide - len(row))] for row in rows])


class TorchSeq2Seq:
    """A transformers model as it stands."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        """Run ``network`` where it is; ``tokenizer`` says what ends a reply where the model does not."""
        self.network = network
        self.pad = int(tokenizer.pad_token_id or 0)
        begins = getattr(network.config, "decoder_start_token_id", None)
        self.start = self.pad if begins is None else int(begins)
        self.ends = causal.ending_ids(network, tokenizer)
        self.words = causal.words(tokenizer)
        self._never = list(range(self.words, len(network.get_output_embeddings().weight))) or None

    def greedily(self) -> None:
        """Have the network write greedily and nothing else, wherever its folder is loaded, too: BART's own says
        four beams, and that no three tokens come twice."""
        self.network.generation_config = self._options()

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        replies = Replies(prompts, new_tokens)
        for places, rows in replies.batches():
            replies.take(places, self.write(rows, new_tokens))
        return replies.done()

    @torch.inference_mode()
    def write(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """The same of prompts that are read at once. Ids that no token has are never written."""
        device = self.network.device
        options = self._options(
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            suppress_tokens=self._never,
        )
        found = self.network.generate(
            input_ids=padded(prompts, self.pad).to(device),
            attention_mask=padded([[1] * len(each) for each in prompts], 0).to(device),
            generation_config=options,
        )
        return [self._ended(reply) for reply in found[:, 1:].tolist()]

    @torch.inference_mode()
    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        device = self.network.device
        told = self.network(
            input_ids=torch.tensor([list(prompt)], device=device),
            decoder_input_ids=torch.tensor([[self.start, *answer[:-1]]], device=device),
            use_cache=False,
        ).logits[0]
        found: Floats = told.float().log_softmax(dim=-1).cpu().numpy()
        return found

    def _options(self, **more: Any) -> GenerationConfig:
        return GenerationConfig(  # type: ignore[no-untyped-call,unused-ignore]
            decoder_start_token_id=self.start,
            eos_token_id=self.ends or None,
            pad_token_id=self.pad,
            **more,
        )

    def _ended(self, reply: list[int]) -> list[int]:
        """``reply`` up to the token that ended it, that one included."""
        place = next((place for place, token in enumerate(reply) if token in self.ends), None)
        return reply if place is None else reply[: place + 1]


def write(source: Path, folder: Path, quantization: Quantization, *, source_digest: str) -> Path:
    """Write the model in ``source`` for ctranslate2 into ``folder``, with its tokenizer, and say
    where; arguments as of ``export.causal.ctranslate.write``.

    Raises:
        UserError: ctranslate2 is missing or does not know the architecture, or ``source`` does not load.
    """
    library()
    with loading(source, "encoder-decoder"):
        network: Any = AutoModelForSeq2SeqLM.from_pretrained(source, dtype="float32", **_LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(source, **_LOCAL)
    model = TorchSeq2Seq(network.eval(), tokenizer)
    if type(network.config).__name__ == "BartConfig":
        # Some of fairseq's were otherwise; transformers has these alone.
        network.config.normalize_before, network.config.normalize_embedding = False, True
    record = Seq2SeqRecord(tuple(model.ends), source_digest, quantization, model.words)
    with atomic_folder(folder) as temporary:
        convert(source, network, tokenizer, temporary, quantization, partial(_mend, model))
        record.write(temporary)
    return folder


def _mend(model: TorchSeq2Seq, spec: Any, words: list[str]) -> None:
    """The vocabulary, what writing begins with, and the scale of the logits."""
    from ctranslate2.specs.model_spec import OPTIONAL

    for known in spec._vocabularies.values():
        known[:] = [words]
    spec.config.decoder_start_token = words[model.start]
    if not getattr(model.network.config, "scale_decoder_outputs", True):
        spec.decoder.scale_outputs = OPTIONAL


class CTranslateSeq2Seq:
    """A model that ctranslate2 runs, on CUDA where it has it."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``.

        Args:
            folder: written by :func:`write`.
            threads: those of a CPU that are used; None for all.

        Raises:
            UserError: ctranslate2 is missing, or ``folder`` is not a whole export.
        """
        self.record = read_record_of(Seq2SeqRecord, folder)
        self._words, self._translator = opened(folder, _VOCABULARY, "Translator", threads)
        self._numbers = {word: number for number, word in enumerate(self._words)}
        # A reply of nothing is one, too: by itself ctranslate2 does not let the first token be the last.
        self._told: dict[str, Any] = {
            "beam_size": 1,
            "max_input_length": 0,
            "min_decoding_length": 0,
        }

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        replies = Replies(prompts, new_tokens)
        for places, rows in replies.batches():
            told = self._translator.translate_batch(
                [self._named(row) for row in rows],
                max_decoding_length=new_tokens,
                end_token=list(self.record.end_ids),
                return_end_token=True,
                suppress_sequences=phantoms(self._words, self.record.words),
                **self._told,
            )
            written = [[self._numbers[word] for word in each.hypotheses[0]] for each in told]
            replies.take(places, written)
        return replies.done()

    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        told = self._translator.translate_batch(
            [self._named(prompt)],
            target_prefix=[self._named(answer)],
            max_decoding_length=len(answer),
            return_logits_vocab=True,
            **self._told,
        )
        known = library()
        steps = (
            step.to_device(known.Device.cpu).to(known.DataType.float32)
            for step in told[0].logits[0]
        )
        # On CUDA rows may have been added until their number was even.
        logits = np.stack([np.array(step) for step in steps])[:, : len(self._words)]
        found: Floats = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        return found

    def _named(self, ids: Ids) -> list[str]:
        return [self._words[number] for number in ids]
