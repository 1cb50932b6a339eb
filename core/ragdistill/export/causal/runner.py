"""What every form of a causal language model can do, and transformers doing it."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import LogitsProcessor

from ragdistill import causal
from ragdistill.batching import token_budget_batches

Floats = npt.NDArray[np.float32]
Ids = Sequence[int]

ROWS, TOKENS = 16, 16_384
"""Prompts that are answered at once, and tokens of them and their replies, padding included."""


class Runner(Protocol):
    """A model that writes: token ids in, token ids out."""

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """The greedy reply to each of n prompts, each of one token or more, in their order.

        Returns:
            Token ids of each reply, at most ``new_tokens``; one that came to its end has the token that
            ended it as its last.
        """

    def stream(self, prompt: Ids, new_tokens: int) -> Iterator[int]:
        """The same of one prompt, token by token as they come."""

    def sure(self, prompt: Ids, new_tokens: int) -> tuple[list[int], float]:
        """The same of one prompt, and the mean log-probability of the reply's tokens (natural logarithm;
        0 of none), known from writing it."""

    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """Log-probabilities [n, vocabulary] of what may stand in place of each of ``answer``'s n tokens,
        given the prompt and the tokens before."""


class Replies:
    """Replies of many prompts, written in batches of like length."""

    def __init__(self, prompts: Sequence[Ids], new_tokens: int) -> None:
        lengths = [len(prompt) + new_tokens for prompt in prompts]
        self._batches = token_budget_batches(lengths, TOKENS, ROWS)
        self._prompts = prompts
        self._replies: list[list[int]] = [[] for _ in prompts]

    def batches(self) -> Iterator[tuple[list[int], list[Ids]]]:
        """Places and prompts of each batch, longest first."""
        for places in self._batches:
            yield places, [self._prompts[place] for place in places]

    def take(self, places: Sequence[int], replies: Sequence[list[int]]) -> None:
        """Keep what was written in reply to the prompts at ``places``."""
        for place, reply in zip(places, replies, strict=True):
            self._replies[place] = reply

    def done(self) -> list[list[int]]:
        """All of them, in the order of the prompts."""
        return self._replies


class _Heard(LogitsProcessor):
    """Takes down how likely the likeliest token of one reply is, step by step; changes nothing."""

    def __init__(self) -> None:
        self.said: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The same ``scores`` ``[1, v]``."""
        self.said.append(float(scores.float().log_softmax(dim=-1).max()))
        return scores


def mean(log_probs: Sequence[float]) -> float:
    """Of a reply's tokens; 0 of none, which is certain."""
    return fmean(log_probs) if log_probs else 0.0


class TorchCausal:
    """A transformers model as it stands."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        """Run ``network`` where it is; ``tokenizer`` says what ends a reply where the model does not."""
        self.network, self.tokenizer = network, tokenizer
        self._ends, self._words = causal.ending_ids(network, tokenizer), causal.words(tokenizer)

    def generate(self, prompts: Sequence[Ids], new_tokens: int) -> list[list[int]]:
        """See :class:`Runner`."""
        replies = Replies(prompts, new_tokens)
        for places, rows in replies.batches():
            replies.take(places, causal.write(self.network, self.tokenizer, rows, new_tokens))
        return replies.done()

    def sure(self, prompt: Ids, new_tokens: int) -> tuple[list[int], float]:
        """See :class:`Runner`."""
        heard = _Heard()
        (reply,) = causal.write(self.network, self.tokenizer, [prompt], new_tokens, heard)
        return reply, mean(heard.said[: len(reply)])

    @torch.inference_mode()
    def stream(self, prompt: Ids, new_tokens: int) -> Iterator[int]:
        """See :class:`Runner`."""
        ids, past = list(prompt), None
        for _ in range(new_tokens):
            told = self.network(
                torch.tensor([ids], device=self.network.device),
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            ids, past = [int(told.logits[0, -1, : self._words].argmax())], told.past_key_values
            yield ids[0]
            if ids[0] in self._ends:
                return

    @torch.inference_mode()
    def log_probs(self, prompt: Ids, answer: Ids) -> Floats:
        """See :class:`Runner`."""
        read = torch.tensor([[*prompt, *answer[:-1]]], device=self.network.device)
        told = self.network(read, logits_to_keep=len(answer), use_cache=False).logits[0]
        found: Floats = told.float().log_softmax(dim=-1).cpu().numpy()
        return found
