"""Running an exported embedder with ONNX Runtime and the fast tokenizer, without PyTorch."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from ragdistill.batching import token_budget_batches
from ragdistill.errors import UserError
from ragdistill.export.folder import GRAPH, EmbedderRecord, read_record

Vectors = npt.NDArray[np.float32]

CPU_BUDGET, CUDA_BUDGET = 256, 16_384
"""Padded tokens of a batch. On a CPU one core runs one batch, and the activations of more than some
hundred tokens fall out of its cache: MiniLM runs twice as fast at 256 as at 4,096 tokens."""

_SORTED_TOGETHER = 1 << 14  # texts; bounds the memory that their token ids take


class OnnxEmbedder:
    """Texts to vectors by an exported graph, int8 or fp32.

    Texts are tokenised once, sorted by token length and run in batches of a token budget. On a CPU
    every core runs batches of its own: the operators of a small model are too short to be shared.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_embedder`` or ``quantise``.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ``folder`` is not a whole export.
        """
        self.record: EmbedderRecord = read_record(folder)
        self._tokenizer = load_tokenizer(folder, self.record)
        self._session = _load_session(folder / GRAPH)
        self._inputs = {item.name for item in self._session.get_inputs()}
        self._on_cuda = "CUDAExecutionProvider" in self._session.get_providers()
        self._pool = ThreadPoolExecutor(1 if self._on_cuda else threads or _cores())

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        normalize: bool = False,
        token_budget: int | None = None,
    ) -> Vectors:
        """Vectors [n, d] float32 of ``texts``, in their order.

        Args:
            texts: n strings; what is beyond the model's longest sequence is cut off.
            prompt: put before each text, as sentence-transformers does.
            normalize: scale each vector to length 1 (a graph that does so already is left alone).
            token_budget: padded tokens of a batch; None for what suits the device.
        """
        budget = token_budget or (CUDA_BUDGET if self._on_cuda else CPU_BUDGET)
        vectors = np.zeros((len(texts), self.record.dimensions), np.float32)
        for start in range(0, len(texts), _SORTED_TOGETHER):
            stop = start + _SORTED_TOGETHER
            self._encode_sorted(texts[start:stop], prompt, budget, vectors[start:stop])
        if normalize and not self.record.normalised:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _encode_sorted(
        self, texts: Sequence[str], prompt: str, budget: int, vectors: Vectors
    ) -> None:
        """Fill ``vectors`` [n, d] batch by batch, several batches at once."""
        encodings = self._tokenize(texts, prompt)

        def run(batch: list[int]) -> None:
            vectors[batch] = self._run([encodings[index] for index in batch])

        batches = token_budget_batches([len(encoding) for encoding in encodings], budget)
        if len(batches) == 1:
            run(batches[0])  # a query: handing it to another thread would only cost time
        else:
            list(self._pool.map(run, batches))

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[Encoding]:
        prompted = [prompt + text for text in texts]
        if self.record.lower_case:
            prompted = [text.lower() for text in prompted]
        return self._tokenizer.encode_batch_fast(prompted)

    def _run(self, encodings: Sequence[Encoding]) -> Vectors:
        """Vectors [batch, d] of one batch of encodings, longest first."""
        shape = (len(encodings), len(encodings[0]))
        ids = np.full(shape, self.record.pad_token_id, np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        vectors: Vectors = self._session.run(["sentence_embedding"], feed)[0]
        return vectors


def load_tokenizer(folder: Path, record: EmbedderRecord) -> Tokenizer:
    """The tokenizer of an export, which cuts texts where the model does and pads nothing.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError("missing", where=path, mend="export the model again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(f"damaged ({error})", where=path, mend="export the model again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(record.max_seq_length)
    return tokenizer


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # the threads run batches of their own
    # Every batch has a shape of its own: a memory plan per shape would only pile up.
    options.enable_mem_pattern = False
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=[name for name in wanted if name in available]
        )
    except Exception as error:  # onnxruntime's own exceptions have no common class
        raise UserError(
            f"ONNX Runtime cannot load it ({str(error)[:200]})",
            where=path,
            mend="export the model again",
        ) from error
