"""Language models that sentence-transformers itself scores with: their folder says by which template they are
asked, and which token means that a document answers (``LogitScore``; rerankers made of Qwen, say)."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch

from ragdistill.errors import loading
from ragdistill.files import sha256_json
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill_reranker.local import LocalScorer
from ragdistill_reranker.scoring import Forecast, Pair, Scores, forecast

_BATCH = 16


def answers_in_its_own_words(folder: Path) -> bool:
    """Whether the model in ``folder`` is such a one."""
    path = folder / "modules.json"
    modules: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return any(str(module.get("type", "")).endswith(".LogitScore") for module in modules)


class InItsWords(LocalScorer):
    """Scores pairs as ``sentence_transformers.CrossEncoder.predict`` does, without the function that may
    be put behind."""

    scale = "logit"

    @cached_property
    def model_itself(self) -> sentence_transformers.CrossEncoder:
        """It, loaded.

        Raises:
            UserError: it cannot be loaded.
        """
        with loading(self.model.path, "cross-encoder"):
            found: sentence_transformers.CrossEncoder = sentence_transformers.CrossEncoder(
                str(self.model.path),
                device=self._device,
                local_files_only=True,
                trust_remote_code=False,
            )
        return found

    def fingerprint(self) -> Fingerprint:
        """What identifies its scores: template and words are among the files of its tokenizer and modules."""
        return Fingerprint(
            kind="score",
            weights=self.digest,
            tokenizer=self.model.tokenizer_digest,
            dtype="float32",
            parameters={"reading": "own words", "modules": sha256_json(_settings(self.model.path))},
        )

    def answers(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Scores, int]]:
        """See ``Scorer``."""
        for places in _batches(pairs):
            part = [pairs[place] for place in places]
            yield places, self._scores(part), self._tokens(part)

    def forecast(self, windows: Iterable[Sequence[Pair]]) -> Forecast:
        """See ``Scorer``."""
        parts = ([each[n] for n in places] for each in windows for places in _batches(each))
        return forecast(parts, self._tokens, self._scores)

    def _scores(self, pairs: Sequence[Pair]) -> Scores:
        found = self.model_itself.predict(
            list(pairs),
            batch_size=_BATCH,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return np.asarray(found, dtype=np.float32)

    def _tokens(self, pairs: Sequence[Pair]) -> int:
        return int(self.model_itself.preprocess(list(pairs))["attention_mask"].sum())


def _batches(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Places of pairs of like length."""
    order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]


def _settings(folder: Path) -> dict[str, Any]:
    """What the modules, and the prompts, are set to."""
    names = ("modules.json", "config_sentence_transformers.json", "*LogitScore/config.json")
    paths = sorted(path for name in names for path in folder.glob(name))
    told = {
        path.relative_to(folder).as_posix(): json.loads(path.read_text("utf-8")) for path in paths
    }
    told.get("config_sentence_transformers.json", {}).pop("__version__", None)
    return told
