"""Cross-encoders as teachers: query and document are read together, the score is the logit."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ragdistill.batching import token_budget_batches
from ragdistill.encoder import BATCH_TOKENS
from ragdistill.errors import UserError, loading
from ragdistill.models.resolve import ResolvedModel
from ragdistill.positions import readable_tokens
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_reranker.local import LocalScorer
from ragdistill_reranker.scoring import Forecast, Pair, Scores, forecast


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pairs of like length: their places, their token ids, and how many those are."""

    places: list[int]
    rows: dict[str, list[list[int]]]
    tokens: int


class PairReader:
    """Reads pairs in batches of like length."""

    def __init__(self, network: Any, tokenizer: Any, max_length: int) -> None:
        """``network``: of one logit, or two, on the device where it is to run."""
        self._network, self._tokenizer, self._max_length = network, tokenizer, max_length

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """See ``Scorer``: pairs are tokenised once, batches are of like length."""
        for batch in self._batches(pairs):
            yield batch.places, self._scores(batch.rows), batch.tokens

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> Forecast:
        """See ``Scorer``."""
        batches = (batch for window in windows for batch in self._batches(window))
        return forecast(batches, lambda batch: batch.tokens, lambda batch: self._scores(batch.rows))

    def _batches(self, pairs: Sequence[Pair]) -> Iterator["_Batch"]:
        if not pairs:
            return
        encoded = self._tokenizer(
            [query for query, _ in pairs],
            [document for _, document in pairs],
            truncation="longest_first",
            max_length=self._max_length,
            return_attention_mask=False,
        )
        lengths = [len(row) for row in encoded["input_ids"]]
        for places in token_budget_batches(lengths, BATCH_TOKENS[self._network.device.type]):
            rows = {key: [values[place] for place in places] for key, values in encoded.items()}
            yield _Batch(list(places), rows, sum(lengths[place] for place in places))

    @torch.inference_mode()
    def _scores(self, rows: dict[str, list[list[int]]]) -> Scores:
        padded = self._tokenizer.pad(rows, padding=True, return_tensors="pt").to(
            self._network.device
        )
        logits = self._network(**padded).logits.float()
        found = logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        return np.asarray(found.cpu(), dtype=np.float32)


class CrossEncoder(LocalScorer):
    """A model with one logit for a pair, or two, of which the difference is taken: its scores are
    logits, whatever function its makers put behind them."""

    scale = "logit"

    def __init__(self, model: ResolvedModel, device: str, *, max_length: int | None = None) -> None:
        super().__init__(model, device)
        self._asked_length = max_length

    @cached_property
    def network(self) -> Any:
        """It itself, loaded.

        Raises:
            UserError: it cannot be loaded, or has no score.
        """
        path, safely = self.model.path, {"local_files_only": True, "trust_remote_code": False}
        with loading(path, "cross-encoder"):
            found: Any = AutoModelForSequenceClassification.from_pretrained(str(path), **safely)
        if found.config.num_labels > 2:
            raise UserError(
                f"sorts pairs into {found.config.num_labels} classes and has no score", where=path
            )
        return found.to(self._device).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        with loading(self.model.path, "tokenizer"):
            return AutoTokenizer.from_pretrained(str(self.model.path), local_files_only=True)

    @property
    def max_length(self) -> int:
        """Tokens after which a pair is cut, the longer of the two texts first."""
        most = int(self.tokenizer.model_max_length)
        if (positions := readable_tokens(self.network)) is not None:
            most = min(most, positions)
        asked, least = self._asked_length or most, self.tokenizer.num_special_tokens_to_add(True)
        if asked > most:
            raise UserError(
                f"{asked} tokens are more than the model takes ({most})", where="--max-length"
            )
        if asked <= least + 1:
            raise UserError(
                f"{asked} tokens hold no pair: every one has {least} that mark its ends",
                where="--max-length",
                mend="give more",
            )
        return asked

    def fingerprint(self) -> Fingerprint:
        """What identifies its scores."""
        return Fingerprint(
            kind="score",
            weights=self.digest,
            tokenizer=self.model.tokenizer_digest,
            max_length=self.max_length,
            dtype="float32",
            parameters={"reading": "logit"},
        )

    @cached_property
    def reader(self) -> PairReader:
        """What reads its pairs."""
        return PairReader(self.network, self.tokenizer, self.max_length)

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """See ``Scorer``."""
        return self.reader.answers(pairs)

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> Forecast:
        """See ``Scorer``."""
        return self.reader.forecast(windows)
