"""The three kinds of student: what each is made of, how it reads, and how it scores."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder
from sentence_transformers.base.model import BaseModel
from torch import Tensor, nn
from transformers import AutoConfig, set_seed

from ragdistill.encoder import encoder_of, load_encoder, pick_device
from ragdistill.errors import UserError, loading
from ragdistill.first_stage import Scores
from ragdistill.quiet import errors_only
from ragdistill.training.preparing import keep_some
from ragdistill_reranker.config import Kind, RerankerConfig
from ragdistill_reranker.cross_encoder import PairReader
from ragdistill_reranker.late_interaction import (
    DOCUMENT_LENGTH,
    QUERY_LENGTH,
    load_reader,
    make_late_interaction,
    token_features,
)
from ragdistill_reranker.list_loss import Compare, Features, by_pairs, by_tokens, by_vectors
from ragdistill_reranker.narrowing import keep_neurons
from ragdistill_reranker.scoring import Pair
from ragdistill_reranker.systems import PairSystem, System, TokenSystem, VectorSystem

_BATCH = 32


class Student(System):
    """A model that scores documents of a query."""

    kind: ClassVar[Kind]
    library: ClassVar[str] = "sentence-transformers"
    spreads: ClassVar[bool] = False
    """Whether it learns by itself how far its scores are apart."""

    def __init__(self, model: Any) -> None:
        self.model: BaseModel = model

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, device: str) -> "Student":
        """The student that was saved in ``folder``."""

    @abstractmethod
    def features(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]]
    ) -> dict[str, Features]:
        """Padded inputs by kind of text, of queries and the documents of their lists."""

    @abstractmethod
    def read(self, features: Features, kind: str) -> tuple[Tensor, list[int]]:
        """See :data:`ragdistill_reranker.list_loss.Read`."""

    @abstractmethod
    def compare(self, ways: int, *, across: bool = False) -> Compare:
        """See :data:`ragdistill_reranker.list_loss.Compare`; ``across``: each query with the documents of
        all lists, where it reads them apart."""

    def save(self, folder: Path) -> None:
        """Leave it in ``folder``, where its own class of sentence-transformers loads it."""
        self.model.save_pretrained(str(folder), create_model_card=False)


class _TwoTowers(Student):
    """Queries and documents are read apart."""

    def features(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]]
    ) -> dict[str, Features]:
        """See :class:`Student`."""
        told = [text for row in documents for text in row]
        return {
            "query": self._inputs(list(queries), "query"),
            "document": self._inputs(told, "document"),
        }

    @abstractmethod
    def _inputs(self, texts: list[str], task: str) -> Features:
        """Padded inputs of ``texts``."""


class LateInteraction(_TwoTowers, TokenSystem):
    """A vector of each token (ColBERT)."""

    kind = "colbert"
    model: MultiVectorEncoder

    @classmethod
    def load(cls, folder: Path, device: str) -> "LateInteraction":
        """See :class:`Student`."""
        with loading(folder, "late-interaction model"):
            return cls(
                MultiVectorEncoder(str(folder), device=pick_device(device), local_files_only=True)
            )

    def _inputs(self, texts: list[str], task: str) -> Features:
        return token_features(self.model, texts, task)

    def read(self, features: Features, kind: str) -> tuple[Tensor, list[int]]:
        """See :class:`Student`."""
        said = self.model(features, task=kind)
        mask = said["attention_mask"].bool()
        rows: Tensor = said["token_embeddings"][mask]
        return rows, mask.sum(dim=1).tolist()

    def compare(self, ways: int, *, across: bool = False) -> Compare:
        """See :class:`Student`."""
        return by_tokens(ways, across=across)

    def encode(self, texts: Sequence[str], task: str) -> list[Scores]:
        """See ``TokenSystem``."""
        encode = self.model.encode_query if task == "query" else self.model.encode_document
        found = encode(
            list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True
        )
        return [np.asarray(each, dtype=np.float32) for each in found]


class BiEncoder(_TwoTowers, VectorSystem):
    """One vector of each text."""

    kind = "bi-encoder"

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.encoder = encoder_of(model)

    @classmethod
    def load(cls, folder: Path, device: str) -> "BiEncoder":
        """See :class:`Student`."""
        return cls(load_encoder(folder, device).model)

    def _prompt(self, task: str) -> str:
        prompts = self.encoder.prompts
        return prompts.query if task == "query" else prompts.passage

    def _inputs(self, texts: list[str], task: str) -> Features:
        prompt = self._prompt(task)
        return self.encoder.features(self.encoder.tokenise(texts, prompt), prompt)

    def encode(self, texts: Sequence[str], task: str) -> Scores:
        """See ``VectorSystem``."""
        return self.encoder.encode(list(texts), self._prompt(task))

    def read(self, features: Features, kind: str) -> tuple[Tensor, list[int]]:
        """See :class:`Student`."""
        vectors = torch.nn.functional.normalize(self.model(features)["sentence_embedding"], dim=-1)
        return vectors, [1] * len(vectors)

    def compare(self, ways: int, *, across: bool = False) -> Compare:
        """See :class:`Student`."""
        return by_vectors(ways, across=across)


class JointReader(Student, PairSystem):
    """Query and document read together, by fewer layers."""

    kind = "cross-encoder"
    spreads = True
    model: CrossEncoder

    @classmethod
    def load(cls, folder: Path, device: str) -> "JointReader":
        """See :class:`Student`."""
        with loading(folder, "cross-encoder"):
            model = CrossEncoder(str(folder), device=pick_device(device), local_files_only=True)
        return cls(model)

    def features(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]]
    ) -> dict[str, Features]:
        """See :class:`Student`."""
        pairs = [
            (query, text) for query, row in zip(queries, documents, strict=True) for text in row
        ]
        return {"pair": dict(self.model.preprocess(pairs))}

    def read(self, features: Features, kind: str) -> tuple[Tensor, list[int]]:
        """See :class:`Student`."""
        logits: Tensor = self.model(features)["scores"]
        return logits[:, :1], [1] * len(logits)

    def compare(self, ways: int, *, across: bool = False) -> Compare:
        """See :class:`Student`."""
        if across:
            raise ValueError("query and document are read together, and no others")
        return by_pairs(ways)

    def score_pairs(self, pairs: Sequence[Pair]) -> Scores:
        """See ``PairSystem``."""
        model: Any = self.model.eval()
        reader = PairReader(model.model, model.tokenizer, model.max_seq_length)
        scores = np.empty(len(pairs), dtype=np.float32)
        for places, found, _ in reader.answers(pairs):
            scores[places] = found
        return scores


KINDS: Mapping[Kind, type[Student]] = {
    each.kind: each for each in (LateInteraction, BiEncoder, JointReader)
}


def make(
    config: RerankerConfig, base: Path, texts: Sequence[str], pairs: Sequence[Pair] = ()
) -> Student:
    """The student before it has learnt anything.

    Args:
        base: the model that it is made of.
        texts: documents that it will read, for a late-interaction student's projection and the choice
            of neurons.
        pairs: the same for what reads query and document together.

    Raises:
        UserError: the model does not load, or cannot be made smaller as asked.
    """
    set_seed(config.seed)
    student = _made(config, base, texts, pairs)
    # In half precision the small steps of training would be lost.
    student.model.float()
    return student


def _made(
    config: RerankerConfig, base: Path, texts: Sequence[str], pairs: Sequence[Pair]
) -> Student:
    device, neurons = pick_device(config.device), config.student_intermediate
    if config.student == "colbert":
        return LateInteraction(
            make_late_interaction(
                base,
                config.token_dims,
                texts,
                device,
                layers=config.student_layers,
                neurons=neurons,
                query_length=config.query_length or QUERY_LENGTH,
                document_length=config.document_length or DOCUMENT_LENGTH,
                expanded=config.query_expansion,
            )
        )
    if config.student == "bi-encoder":
        encoder = load_reader(base, device)
        keep_some(encoder.model, config.student_layers)
        keep_neurons(encoder.model, neurons, texts)
        return BiEncoder(encoder.model)
    model = _one_logit(base, device)
    keep_some(model, config.student_layers)
    keep_neurons(model, neurons, pairs)
    return JointReader(model)


def _classes(base: Path) -> int:
    """How many classes ``base`` sorts pairs into; none without a head.

    Raises:
        UserError: it does not load, or what it says of a pair is no score.
    """
    with loading(base, "cross-encoder"):
        config = AutoConfig.from_pretrained(str(base), local_files_only=True)
    made_for, mend = str((config.architectures or [""])[0]), "name another --student-model"
    if made_for.endswith("ForCausalLM"):
        said = "writes text, and would answer a pair with a word, not with a score"
        raise UserError(said, where=base, mend=mend)
    classes = int(config.num_labels) if made_for.endswith("ForSequenceClassification") else 0
    if classes > 2:
        said = f"sorts pairs into {classes} classes and has no score"
        raise UserError(said, where=base, mend=mend)
    return classes


def _one_logit(base: Path, device: str) -> CrossEncoder:
    """``base`` with one logit on a pair: of two, their difference, which is what such a model is scored
    by (:mod:`ragdistill_reranker.cross_encoder`); what has no head gets one that knows nothing."""
    asked: dict[str, Any] = {"device": device, "local_files_only": True, "trust_remote_code": False}
    classes = _classes(base)
    # That an embedder is made into something else is what was asked for.
    with loading(base, "cross-encoder"), errors_only("sentence_transformers.base.model"):
        if classes != 2:
            fresh: CrossEncoder = CrossEncoder(str(base), num_labels=1, **asked)
            return fresh
        model: CrossEncoder = CrossEncoder(str(base), activation_fn=nn.Sigmoid(), **asked)
        network: Any = model.model
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        head = [module for module in linear if module.out_features == 2][-1]
        for name, value in list(head.named_parameters()):
            setattr(head, name, nn.Parameter((value[1:] - value[:1]).detach().clone()))
        head.out_features = network.num_labels = network.config.num_labels = 1
    return model


def size(folder: Path) -> int:
    """Bytes of the weights in ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


__all__ = ["KINDS", "Student", "make", "size"]
