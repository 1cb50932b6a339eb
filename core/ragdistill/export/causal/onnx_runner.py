"""A causal language model's ONNX graph, run by ONNX Runtime."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import OrtValue

from ragdistill.export.causal.runner import Floats, Ids, Replies, mean
from ragdistill.export.folder import GRAPH, CausalRecord, read_record_of
from ragdistill.export.running import cores, load_session

Integers = npt.NDArray[np.int64]

_AT_ONCE = 1024
"""Tokens whose logits are in memory together."""


class OnnxCausal:
    """A graph with a key-value cache, int8 or fp32, on CUDA where ONNX Runtime has it."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``.

        Args:
            folder: written by ``export_causal`` or ``quantise``.
            threads: those of a CPU that an operator is shared by; None for all.

        Raises:
            UserError: ``folder`` is not a whole export.
        """
        self.record = read_record_of(CausalRecord, folder)
        self._session: Any = load_session(folder / GRAPH, threads or cores())
        on_cuda = "CUDAExecutionProvider" in self._session.get_providers()
        self._device = "cuda" if on_cuda else "cpu"
        self._past = {
            item.name: (int(item.shape[1]), int(item.shape[3]))
            for item in self._session.get_inputs()
            if item.name.startswith("past_key_values.")
        }

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        replies = Replies(prompts, new_tokens)
        for places, rows in replies.batches():
            replies.take(places, self._replies(rows, new_tokens))
        return replies.done()

    def stream(self, prompt: Ids, new_tokens: int) -> Iterator[int]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        for _, said in zip(range(new_tokens), self._steps([prompt]), strict=False):
            yield int(said[0])
            if int(said[0]) in self.record.end_ids:
                return

    def sure(self, prompt: Ids, new_tokens: int) -> tuple[list[int], float]:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        reply: list[int] = []
        likely: list[float] = []
        for _, logits in zip(range(new_tokens), self._logits([prompt]), strict=False):
            reply.append(int(logits[0].argmax()))
            likely.append(float(_log_softmax(logits)[0].max()))
            if reply[-1] in self.record.end_ids:
                break
        return reply, mean(likely)

    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See :class:`~ragdistill.export.causal.runner.Runner`."""
        reading = _Reading(self._session, self._device, self._past, [[*prompt, *answer[:-1]]])
        return _log_softmax(reading.prompts(len(answer))[0])

    def _replies(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        replies: list[list[int]] = [[] for _ in prompts]
        ended = np.zeros(len(prompts), bool)
        for _, said in zip(range(new_tokens), self._steps(prompts), strict=False):
            for row in np.flatnonzero(~ended):
                replies[row].append(int(said[row]))
            ended |= np.isin(said, self.record.end_ids)
            if ended.all():
                break
        return replies

    def _steps(self, prompts: Sequence[Ids]) -> Iterator[Integers]:
        """The likeliest next token [b] of each prompt, again and again, whether it has ended or not."""
        return (logits.argmax(axis=-1) for logits in self._logits(prompts))

    def _logits(self, prompts: Sequence[Ids]) -> Iterator[Floats]:
        """What each prompt's next token is chosen by [b, tokens], again and again, the likeliest read on."""
        reading = _Reading(self._session, self._device, self._past, prompts)
        said = reading.prompts(1)
        while True:
            told = said[:, -1, : self.record.words]
            yield told
            said = reading.step(told.argmax(axis=-1)[:, None])


def _log_softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


class _Reading:
    """Prompts that are being read, padded on the left, and the cache of what was read."""

    def __init__(
        self, session: Any, device: str, past: dict[str, tuple[int, int]], prompts: Sequence[Ids]
    ) -> None:
        wide = max(map(len, prompts))
        self._ids = np.array([[0] * (wide - len(row)) + list(row) for row in prompts], np.int64)
        self._seen = np.array([[0] * (wide - len(row)) + [1] * len(row) for row in prompts])
        self._session, self._device, self._read = session, device, 0
        self._outputs = [item.name for item in session.get_outputs()]
        self._past = {
            name: OrtValue.ortvalue_from_numpy(
                np.zeros((len(prompts), heads, 0, width), np.float32), device
            )
            for name, (heads, width) in past.items()
        }

    def prompts(self, last: int) -> Floats:
        """Read the prompts: logits [b, last, vocabulary] after each of their last tokens."""
        piece = max(last, _AT_ONCE // len(self._ids))
        head = max(0, self._ids.shape[1] - piece)
        for start in range(0, head, piece):
            self.step(self._ids[:, start : min(start + piece, head)])
        return self.step(self._ids[:, head:])[:, -last:]

    def step(self, ids: Integers) -> Floats:
        """Logits [b, s, vocabulary] after each of the next tokens [b, s]."""
        end = self._read + ids.shape[1]
        more = np.ones((len(ids), max(0, end - self._seen.shape[1])), np.int64)
        self._seen = np.concatenate([self._seen, more], axis=1)
        seen = self._seen[:, :end]
        positions = np.maximum(seen.cumsum(axis=1) - 1, 0)[:, self._read :]
        binding = self._session.io_binding()
        given = {"input_ids": ids, "attention_mask": seen, "position_ids": positions}
        for name, array in given.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array, dtype=np.int64))
        for name, value in self._past.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name == "logits" else self._device)
        self._session.run_with_iobinding(binding)
        logits, *states = binding.get_outputs()
        self._past = dict(zip(self._past, states, strict=True))
        self._read = end
        found: Floats = logits.numpy()
        return found
