"""Running an exported embedder: ONNX Runtime and the fast tokenizer, no PyTorch, no transformers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from ragdistill.batching import token_budget_batches
from ragdistill.errors import UserError
from ragdistill.export.folder import GRAPH, EmbedderRecord, read_record

Vectors = npt.NDArray[np.float32]

TOKEN_BUDGET = 4096
"""Padded tokens of a batch: what fits the caches of a CPU's cores."""

_SORTED_TOGETHER = 1 << 14  # texts; bounds the memory that their token ids take


class OnnxEmbedder:
    """Texts to vectors by an exported graph, int8 or fp32.

    Texts are tokenised once, sorted by token length and run in batches of a token budget, which is
    what makes it faster than the same weights in batches of equal count.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_embedder`` or ``quantise``.
            threads: threads of one operator; None leaves it to ONNX Runtime (all cores).

        Raises:
            UserError: ``folder`` is not a whole export.
        """
        self.record: EmbedderRecord = read_record(folder)
        self._tokenizer = _load_tokenizer(folder, self.record)
        self._session = _load_session(folder / GRAPH, threads)
        self._inputs = {item.name for item in self._session.get_inputs()}

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        normalize: bool = False,
        token_budget: int = TOKEN_BUDGET,
        max_items: int | None = None,
    ) -> Vectors:
        """Vectors [n, d] float32 of ``texts``, in their order.

        Args:
            texts: n strings; what is beyond the model's longest sequence is cut off.
            prompt: put before each text, as sentence-transformers does.
            normalize: scale each vector to length 1 (a graph that does so already is left alone).
            token_budget: padded tokens of a batch.
            max_items: texts of a batch at most.
        """
        vectors = np.zeros((len(texts), self.record.dimensions), np.float32)
        for start in range(0, len(texts), _SORTED_TOGETHER):
            encodings = self._tokenize(texts[start : start + _SORTED_TOGETHER], prompt)
            lengths = [len(encoding) for encoding in encodings]
            for batch in token_budget_batches(lengths, token_budget, max_items):
                rows = [start + index for index in batch]
                vectors[rows] = self._run([encodings[index] for index in batch])
        if normalize and not self.record.normalised:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

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


def _load_tokenizer(folder: Path, record: EmbedderRecord) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError("missing", where=path, mend="export the model again")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(record.max_seq_length)
    return tokenizer


def _load_session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Every batch has a shape of its own: a memory plan per shape would only pile up.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
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
