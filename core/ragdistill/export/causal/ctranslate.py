"""A causal language model for ctranslate2, the fastest way to write on a CPU, in fp32 or int8.

ctranslate2's own converter reads the weights. What it takes for granted of a tokenizer and of a model's
heads is put right here: it stops at a tokenizer without a first or a last token, gives every id after a
gap in the vocabulary its neighbour's token, and takes a head's width for the states' by the heads.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ragdistill.errors import UserError
from ragdistill.export.causal.runner import Floats, Ids, Replies
from ragdistill.export.causal.source import describe, load
from ragdistill.export.folder import CausalRecord, atomic_folder, read_record_of, write_tokenizer
from ragdistill.export.running import cores

Quantization = Literal["float32", "int8"]
WEIGHTS, VOCABULARY = "model.bin", "vocabulary.json"


def write(source: Path, folder: Path, quantization: Quantization, *, source_digest: str) -> Path:
    """Write the model in ``source`` for ctranslate2 into ``folder``, with its tokenizer, and say
    where; an existing one is replaced.

    Args:
        source: a Hugging Face folder; no code in it is run.
        folder: where to.
        quantization: ``int8`` keeps matrices and embeddings in 8 bits with a scale for each row.
        source_digest: SHA-256 of the weights in ``source``.

    Raises:
        UserError: ctranslate2 is missing or does not know the architecture, or ``source`` does not load.
    """
    library()
    model = load(source)
    record = describe(model, source_digest, quantization)
    with atomic_folder(folder) as temporary:
        mend = partial(_mend, model.network.config)
        convert(source, model.network, model.tokenizer, temporary, quantization, mend)
        record.write(temporary)
    return folder


def library() -> ModuleType:
    """ctranslate2.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise UserError(
            "ctranslate2 is not installed", mend="pip install 'ragdistill[serve]'"
        ) from error
    found: ModuleType = ctranslate2
    return found


def convert(
    source: Path,
    network: Any,
    tokenizer: Any,
    folder: Path,
    quantization: Quantization,
    mend: Callable[[Any, list[str]], None],
) -> None:
    """Have ctranslate2's converter write ``network`` and its tokenizer, loaded from ``source``, into ``folder``;
    the network is taken to pieces.

    Args:
        source: a Hugging Face folder, whose configuration the converter reads.
        network: a transformers model.
        tokenizer: its own.
        folder: where to; replaced.
        quantization: of its matrices.
        mend: puts right, in place, what the converter made of the network; it is given the token of each row,
            too.

    Raises:
        UserError: ctranslate2 does not know the architecture.
    """
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, *_: Any, **__: Any) -> Any:
            return network

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return tokenizer

        def _load(self) -> Any:
            spec = super()._load()
            words = vocabulary(tokenizer, network.config.vocab_size)
            for name in ("bos_token", "eos_token", "unk_token"):
                setattr(spec.config, name, getattr(tokenizer, name) or words[0])
            mend(spec, words)
            return spec

    try:
        Converter(str(source)).convert(str(folder), quantization=quantization, force=True)
    except (ValueError, NotImplementedError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"ctranslate2 does not take a {type(network).__name__} ({str(error)[:200]})",
            where=source,
            mend="serve it from its own folder, or in another form",
        ) from error
    write_tokenizer(tokenizer, folder)


def _mend(config: Any, spec: Any, words: list[str]) -> None:
    """The vocabulary and the heads of a language model."""
    spec.register_vocabulary(words)
    wide = getattr(config, "head_dim", None)
    if wide and wide * config.num_attention_heads != config.hidden_size:
        for layer in spec.decoder.layer:
            # The layers are closed by now to attributes that they were made without.
            object.__setattr__(layer.self_attention, "head_dim", np.int32(wide))


def vocabulary(tokenizer: Any, rows: int) -> list[str]:
    """The token of each of the model's ``rows``, all different; a name for a row that has no token."""
    known: dict[str, int] = tokenizer.get_vocab()
    names = {number: token for token, number in known.items()}
    made = (name for name in map("<extra_id_{}>".format, range(rows + len(known))))
    free = (name for name in made if name not in known)
    return [names[row] if row in names else next(free) for row in range(rows)]


def opened(folder: Path, names: str, runs: str, threads: int | None) -> tuple[list[str], Any]:
    """An export's tokens, in the file ``names``, and what of ctranslate2 ``runs`` it (``Generator``,
    ``Translator``), on CUDA where it has it.

    Raises:
        UserError: ctranslate2 is missing, or ``folder`` is not a whole export.
    """
    known = library()
    device = "cuda" if known.get_cuda_device_count() else "cpu"
    try:
        words: list[str] = json.loads((folder / names).read_text(encoding="utf-8"))
        runtime = getattr(known, runs)(str(folder), device=device, intra_threads=threads or cores())
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ctranslate2 cannot load it ({str(error)[:200]})",
            where=folder,
            mend="export the model again",
        ) from error
    return words, runtime


def phantoms(words: list[str], known: int | None) -> list[list[str]] | None:
    """The rows of ``words`` from ``known`` on, each as a sequence that is never to be written; None where there
    are none."""
    return None if known is None else [[each] for each in words[known:]] or None


class CTranslateCausal:
    """A model that ctranslate2 runs, on CUDA where it has it."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``.

        Args:
            folder: written by :func:`write`.
            threads: those of a CPU that are used; None for all.

        Raises:
            UserError: ctranslate2 is missing, or ``folder`` is not a whole export.
        """
        self.record = read_record_of(CausalRecord, folder)
        self._words, self._generator = opened(folder, VOCABULARY, "Generator", threads)
        self._ends = list(self.record.end_ids)
        self._never = phantoms(self._words, self.record.words)

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        replies = Replies(prompts, new_tokens)
        for places, rows in replies.batches():
            replies.take(places, [told.sequences_ids[0] for told in self._batch(rows, new_tokens)])
        return replies.done()

    def _batch(self, prompts: Sequence[Ids], new_tokens: int, *, scored: bool = False) -> list[Any]:
        """ctranslate2's results; a score is the sum of the log-probabilities of a reply's tokens."""
        # Beside a prompt of one token ctranslate2 (4.8) takes the others' prompts for replies.
        if len({len(prompt) == 1 for prompt in prompts}) == 2:
            return [reply for each in prompts for reply in self._batch([each], new_tokens)]
        told: list[Any] = self._generator.generate_batch(
            [self._named(prompt) for prompt in prompts],
            max_length=new_tokens,
            end_token=self._ends,
            suppress_sequences=self._never,
            return_end_token=True,
            include_prompt_in_result=False,
            return_scores=scored,
            length_penalty=0,
        )
        return told

    def sure(self, prompt: Ids, new_tokens: int) -> tuple[list[int], float]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        (told,) = self._batch([prompt], new_tokens, scored=True)
        reply: list[int] = told.sequences_ids[0]
        return reply, told.scores[0] / max(len(reply), 1)

    def stream(self, prompt: Ids, new_tokens: int) -> Iterator[int]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        steps = self._generator.generate_tokens(
            self._named(prompt),
            max_length=new_tokens,
            end_token=self._ends,
            suppress_sequences=self._never,
        )
        for step in steps:
            yield step.token_id

    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See :class:`~ragdistill.export.causal.runner.Runner`. All of the prompt's are made, too."""
        told = self._generator.forward_batch([[*prompt, *answer[:-1]]], return_log_probs=True)
        known = library()
        told = told.to_device(known.Device.cpu).to(known.DataType.float32)
        found: Floats = np.array(told)[0, -len(answer) :]
        return found

    def _named(self, ids: Ids) -> list[str]:
        return [self._words[number] for number in ids]
