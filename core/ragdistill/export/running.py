"""Running an exported graph with ONNX Runtime and the fast tokenizer, without PyTorch."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from ragdistill.batching import shared_batches
from ragdistill.errors import UserError

Floats = npt.NDArray[np.float32]
T = TypeVar("T")

CPU_BUDGET, CUDA_BUDGET = 256, 16_384
"""Padded tokens of a batch. On a CPU one core runs one batch, and the activations of more than some
hundred tokens fall out of its cache: MiniLM runs twice as fast at 256 as at 4,096 tokens."""

_SORTED_TOGETHER = 1 << 14  # texts; bounds the memory that their token ids take


class Tokens(NamedTuple):
    """What a graph is given of a text, or of a pair of texts."""

    ids: Sequence[int]
    types: Sequence[int]
    seen: int
    """How many of them, from the first, attention sees."""

    @classmethod
    def of(cls, encoding: Encoding) -> "Tokens":
        """A tokenizer's, all of them seen."""
        return cls(encoding.ids, encoding.type_ids, len(encoding))


Take = Callable[[list[int], Sequence[Tokens], Floats], None]
"""Takes places among the texts, their tokens, and what the graph says of them, [batch, ...]."""


class GraphRunner:
    """An exported graph that is given texts in batches of like length.

    Texts are tokenised once, sorted by token length and run in batches of a token budget. On a CPU
    every core runs batches of its own: the operators of a small model are too short to be shared.
    """

    def __init__(self, path: Path, pad_token_id: int, threads: int | None = None) -> None:
        """Load the graph in ``path``, on CUDA where ONNX Runtime has it.

        Args:
            path: the graph's file.
            pad_token_id: what fills a batch up.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ONNX Runtime cannot load it.
        """
        self._pad = pad_token_id
        self._session = load_session(path)
        self._inputs = {item.name for item in self._session.get_inputs()}
        self._on_cuda = "CUDAExecutionProvider" in self._session.get_providers()
        self._workers = 1 if self._on_cuda else threads or cores()
        self._pool = ThreadPoolExecutor(self._workers)

    def run(
        self,
        output: str,
        texts: Sequence[T],
        tokenise: Callable[[Sequence[T]], list[Tokens]],
        take: Take,
        token_budget: int | None = None,
    ) -> None:
        """Hand ``output`` to ``take`` batch by batch, from several threads at once, in any order; a text
        without tokens is in none.

        Args:
            output: the name of one of the graph's outputs.
            texts: texts, or pairs of them.
            tokenise: turns some of them into tokens.
            take: what is done with a batch.
            token_budget: padded tokens of a batch; None for what suits the device.
        """
        budget = token_budget or (CUDA_BUDGET if self._on_cuda else CPU_BUDGET)
        for start in range(0, len(texts), _SORTED_TOGETHER):
            told = tokenise(texts[start : start + _SORTED_TOGETHER])
            rows = {start + number: row for number, row in enumerate(told) if row.ids}
            self._run_sorted(output, rows, take, budget)

    def _run_sorted(self, output: str, rows: dict[int, Tokens], take: Take, budget: int) -> None:
        """Run what is not empty, place by place, several batches at once."""
        order = list(rows)

        def run(batch: list[int]) -> None:
            places = [order[number] for number in batch]
            tokens = [rows[place] for place in places]
            take(places, tokens, self._run(output, tokens))

        batches = shared_batches([len(row.ids) for row in rows.values()], budget, self._workers)
        if len(batches) == 1:
            run(batches[0])  # a query: handing it to another thread would only cost time
        else:
            list(self._pool.map(run, batches))

    def _run(self, output: str, tokens: Sequence[Tokens]) -> Floats:
        """``output`` [batch, ...] of one batch, longest first."""
        shape = (len(tokens), len(tokens[0].ids))
        ids = np.full(shape, self._pad, np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, text in enumerate(tokens):
            ids[row, : len(text.ids)] = text.ids
            types[row, : len(text.ids)] = text.types
            mask[row, : text.seen] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        found: Floats = self._session.run([output], feed)[0]
        return found


def load_tokenizer(folder: Path, max_length: int) -> Tokenizer:
    """The tokenizer of an export, which cuts texts after ``max_length`` tokens, of a pair the longer
    text first, and pads nothing.

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
    tokenizer.enable_truncation(max_length)
    return tokenizer


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a graph, on CUDA where it has it.

    Args:
        path: the graph's file.
        threads: what an operator is shared by on a CPU; one where threads run batches of their own.

    Raises:
        UserError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
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
