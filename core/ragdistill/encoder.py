"""A sentence-transformers model at full speed: texts are tokenised once, sorted by their number of
tokens, and batched to a token budget, so that hardly anything is padded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from torch import Tensor

from ragdistill.batching import token_budget_batches
from ragdistill.errors import UserError, loading
from ragdistill.losses import window_means
from ragdistill.positions import readable_tokens

Rows = list[list[int]]
"""Token ids of each text, special tokens included, cut at the model's maximum length."""

ENDLESS = 1 << 30
"""The maximum length of a model that takes any."""

BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768, "mps": 8192}
"""Padded tokens per forward pass, by device: on a CPU what the caches hold of a small model's
activations, on a card enough to keep it busy."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What goes before a query and before a passage; empty where nothing does."""

    query: str = ""
    passage: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of the texts of one batch."""

    vectors: NDArray[np.float32]
    """``[b, d]``, as the model gives them."""
    windows: list[NDArray[np.float32]]
    """``[runs, h]`` for each text: the mean state of each run of tokens; none if not asked for."""


class Encoder:
    """Vectors from one model: ``encode`` gives unit vectors, for they are compared by the cosine;
    ``forward`` and ``batches`` give them as the model does."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model.eval()
        self.tokenizer: Any = model.tokenizer
        self.max_length = int(model.max_seq_length or self.tokenizer.model_max_length)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def prompts(self) -> Prompts:
        """The prompts that the model itself names for queries and passages."""
        named: dict[str, str | None] = self.model.prompts or {}
        passage = named.get("document") or named.get("passage") or named.get("corpus") or ""
        return Prompts(query=named.get("query") or "", passage=passage)

    def tokenise(self, texts: Sequence[str], prompt: str = "") -> Rows:
        """Token ids of each text with ``prompt`` before it."""
        if not texts:
            return []
        encoded = self.tokenizer(
            [prompt + text for text in texts],
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        rows: Rows = encoded["input_ids"]
        return rows

    def features(self, rows: Rows, prompt: str = "") -> dict[str, Any]:
        """Padded inputs of the model, ``[b, longest]``, on its device."""
        padded: dict[str, Any] = dict(
            self.tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt")
        )
        if "token_type_ids" in self.tokenizer.model_input_names:
            padded["token_type_ids"] = torch.zeros_like(padded["input_ids"])
        moved: dict[str, Any] = {key: value.to(self.model.device) for key, value in padded.items()}
        if prompt:
            moved["prompt_length"] = self._prompt_length(prompt)
        return moved

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of the prompt before a text, for a pooling that leaves them out: those of the
        prompt alone, less the one that ends a text."""
        row = self.tokenise([prompt])[0]
        return len(row) - (row[-1] in self.tokenizer.all_special_ids)

    @torch.inference_mode()
    def forward(self, rows: Rows, prompt: str = "", *, window: int | None = None) -> Answer:
        """What the model says of one batch; token states too, where a ``window`` is given."""
        features = self.features(rows, prompt)
        said = self.model(dict(features))
        vectors = _array(said["sentence_embedding"])
        if window is None:
            return Answer(vectors, [])
        mask = features["attention_mask"]
        means, counts = window_means(said["token_embeddings"].float(), mask, window)
        runs = (counts > 0).sum(dim=1).tolist()
        states = _array(means)
        return Answer(vectors, [states[place, :count] for place, count in enumerate(runs)])

    def batches(
        self, rows: Rows, prompt: str = "", *, window: int | None = None
    ) -> Iterator[tuple[list[int], Answer]]:
        """``(places in rows, what the model says of them)`` until every row has had its turn."""
        lengths = [max(1, len(row)) for row in rows]  # a static model may have no token of a text
        for batch in token_budget_batches(lengths, self._at_once()):
            yield batch, self.forward([rows[place] for place in batch], prompt, window=window)

    def _at_once(self) -> int:
        return BATCH_TOKENS[self.model.device.type]

    def encode(
        self,
        texts: Sequence[str],
        prompt: str = "",
        *,
        advance: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Unit vectors ``[n, d]`` of ``texts``, in their order."""
        rows = self.tokenise(texts, prompt)
        out = np.empty((len(rows), self.dimensions), dtype=np.float32)
        for places, answer in self.batches(rows, prompt):
            out[places] = answer.vectors
            if advance is not None:
                advance(len(places), sum(len(rows[place]) for place in places))
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return out


class StaticEncoder(Encoder):
    """An encoder of a static model, which looks its tokens up and runs nothing: rows are bags, so
    nothing is padded. Texts are cut where the tokenizer itself cuts them."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model.eval()
        self.tokenizer = model[0].tokenizer
        cut = self.tokenizer.truncation
        self.max_length = int(cut["max_length"]) if cut else ENDLESS

    def tokenise(self, texts: Sequence[str], prompt: str = "") -> Rows:
        """See :class:`Encoder`."""
        wanted = [prompt + text for text in texts]
        found = self.tokenizer.encode_batch(wanted, add_special_tokens=False)
        return [list(encoding.ids) for encoding in found]

    def features(self, rows: Rows, prompt: str = "") -> dict[str, Any]:
        """All ids one after the other ``[sum of lengths]``, and where each row begins ``[b]``."""
        starts = np.cumsum([0, *(len(row) for row in rows[:-1])])
        ids = [token for row in rows for token in row]
        device = self.model.device
        return {
            "input_ids": torch.tensor(ids, dtype=torch.long, device=device),
            "offsets": torch.as_tensor(starts, dtype=torch.long, device=device),
        }

    def _at_once(self) -> int:
        return BATCH_TOKENS["cuda"]  # looking up takes no room worth saving


def is_static(model: SentenceTransformer) -> bool:
    """Whether texts are means of looked-up vectors."""
    return isinstance(model[0], StaticEmbedding)


def is_table(model: SentenceTransformer) -> bool:
    """Whether a text's vector is the mean of its tokens', scaled to length 1 or not, and no more."""
    return is_static(model) and all(isinstance(part, Normalize) for part in list(model)[1:])


def encoder_of(model: SentenceTransformer) -> Encoder:
    """``model`` behind the encoder that suits it."""
    return StaticEncoder(model) if is_static(model) else Encoder(model)


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array


def load_encoder(path: Path, device: str, *, max_length: int | None = None) -> Encoder:
    """The sentence-transformers model in ``path`` (a plain transformer gets mean pooling).

    Raises:
        UserError: it cannot be loaded, or compares by something else than the cosine.
    """
    chosen = pick_device(device)
    with loading(path, "sentence-transformers model"):
        model = SentenceTransformer(
            str(path), device=chosen, local_files_only=True, trust_remote_code=False
        )
    if model.similarity_fn_name != "cosine":
        raise UserError(
            f"compares vectors by {model.similarity_fn_name}, which is not supported",
            where=path,
            mend="choose a model that compares by the cosine",
        )
    if not is_static(model) and not hasattr(model.tokenizer, "pad"):
        raise UserError("has no tokenizer that batches can be made with", where=path)
    most = readable_tokens(model)
    if most is not None and encoder_of(model).max_length > most:
        cut_at(model, most)
    if max_length is not None:
        limit = encoder_of(model).max_length
        if max_length > limit:
            raise UserError(
                f"{max_length} tokens are more than the model takes ({limit})", where="--max-length"
            )
        if max_length <= (least := _special_tokens(model)):
            raise UserError(
                f"{max_length} tokens hold no text: every one has {least} that mark its ends",
                where="--max-length",
                mend="give more",
            )
        cut_at(model, max_length)
    return encoder_of(model)


def _special_tokens(model: SentenceTransformer) -> int:
    if is_static(model):
        return 0
    tokenizer: Any = model.tokenizer
    return int(tokenizer.num_special_tokens_to_add())


def cut_at(model: SentenceTransformer, length: int) -> None:
    """Have ``model`` read the first ``length`` tokens of a text, in place."""
    if is_static(model):
        tokenizer: Any = model[0].tokenizer
        tokenizer.enable_truncation(length)
    else:
        model.max_seq_length = length


def pick_device(device: str) -> str:
    """``auto`` as the best there is.

    Raises:
        UserError: the device asked for is not there.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UserError(f"no {device} device is here", where="--device", mend="choose auto or cpu")
    return device
