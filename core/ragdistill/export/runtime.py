"""Exported embedders, rerankers and token classifiers as they are served: texts in, vectors, scores or
logits out, without PyTorch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ragdistill.export.folder import (
    GRAPH,
    CrossEncoderRecord,
    EmbedderRecord,
    MultiVectorRecord,
    Side,
    TokenClassifierRecord,
    read_record,
    read_record_of,
)
from ragdistill.export.running import Floats, GraphRunner, Tokens, load_tokenizer

Vectors = Floats


class OnnxEmbedder:
    """Texts to vectors by an exported graph, int8 or fp32; in what batches, :class:`GraphRunner` says."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_embedder`` or ``quantise``.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ``folder`` is not a whole export.
        """
        self.record: EmbedderRecord = read_record(folder)
        self._tokenizer = load_tokenizer(folder, self.record.max_seq_length)
        self._graph = GraphRunner(folder / GRAPH, self.record.pad_token_id, threads)

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
        vectors = np.zeros((len(texts), self.record.dimensions), np.float32)

        def tokenise(some: Sequence[str]) -> list[Tokens]:
            prompted = [prompt + text for text in some]
            if self.record.lower_case:
                prompted = [text.lower() for text in prompted]
            return [Tokens.of(found) for found in self._tokenizer.encode_batch_fast(prompted)]

        def take(places: list[int], _: Sequence[Tokens], found: Floats) -> None:
            vectors[places] = found

        self._graph.run("sentence_embedding", texts, tokenise, take, token_budget)
        if normalize and not self.record.normalised:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


class OnnxCrossEncoder:
    """Pairs of texts to scores by an exported graph, int8 or fp32."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_cross_encoder`` or ``quantise``.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ``folder`` is not a whole export of a cross-encoder.
        """
        self.record = read_record_of(CrossEncoderRecord, folder)
        self._tokenizer = load_tokenizer(folder, self.record.max_seq_length)
        self._graph = GraphRunner(folder / GRAPH, self.record.pad_token_id, threads)

    def scores(
        self, pairs: Sequence[tuple[str, str]], *, token_budget: int | None = None
    ) -> Floats:
        """Logits [n] float32 of pairs of a query and a document, in their order.

        Args:
            pairs: n pairs; what is beyond the model's longest sequence is cut off, the longer text
                of a pair first.
            token_budget: padded tokens of a batch; None for what suits the device.
        """
        scores = np.zeros(len(pairs), np.float32)

        def tokenise(some: Sequence[tuple[str, str]]) -> list[Tokens]:
            prompted = [(self.record.prompt + query, document) for query, document in some]
            return [Tokens.of(found) for found in self._tokenizer.encode_batch_fast(prompted)]

        def take(places: list[int], _: Sequence[Tokens], found: Floats) -> None:
            scores[places] = found[:, 0]

        self._graph.run("logits", pairs, tokenise, take, token_budget)
        return scores


class OnnxMultiVector:
    """Texts to a vector for each token by an exported graph, int8 or fp32.

    A score is MaxSim (Khattab and Zaharia, arXiv:2004.12832) of a query's vectors and a document's:
    for each of the query's the greatest inner product with one of the document's, added up.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_multi_vector`` or ``quantise``.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ``folder`` is not a whole export of a model with a vector for each token.
        """
        self.record = read_record_of(MultiVectorRecord, folder)
        sides = (self.record.queries, self.record.documents)
        self._queries, self._documents = (
            (side, load_tokenizer(folder, side.max_seq_length)) for side in sides
        )
        self._graph = GraphRunner(folder / GRAPH, self.record.pad_token_id, threads)

    def encode_queries(
        self, texts: Sequence[str], *, token_budget: int | None = None
    ) -> list[Vectors]:
        """Of each query the vectors [tokens, d] float32 of the tokens that count, in their order."""
        return self._encode(texts, *self._queries, token_budget)

    def encode_documents(
        self, texts: Sequence[str], *, token_budget: int | None = None
    ) -> list[Vectors]:
        """Of each document the vectors [tokens, d] float32 of the tokens that count, in their order."""
        return self._encode(texts, *self._documents, token_budget)

    def _encode(
        self, texts: Sequence[str], side: Side, tokenizer: Tokenizer, token_budget: int | None
    ) -> list[Vectors]:
        vectors = [np.zeros((0, self.record.dimensions), np.float32) for _ in texts]

        def tokenise(some: Sequence[str]) -> list[Tokens]:
            prompted = [side.prompt + text for text in some]
            return [
                _expanded(Tokens.of(found), side) for found in tokenizer.encode_batch_fast(prompted)
            ]

        def take(places: list[int], tokens: Sequence[Tokens], found: Floats) -> None:
            for place, text, states in zip(places, tokens, found, strict=True):
                counted = np.isin(text.ids, side.dropped, invert=True)
                vectors[place] = states[: len(text.ids)][counted]

        self._graph.run("token_embeddings", texts, tokenise, take, token_budget)
        return vectors


class OnnxTokenClassifier:
    """Tokens to logits by an exported graph, int8 or fp32. How a text becomes tokens is its caller's affair,
    who has to know what became of which word."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load ``folder``, on CUDA where ONNX Runtime has it.

        Args:
            folder: written by ``export_token_classifier`` or ``quantise``.
            threads: batches run at once on a CPU; None for one on each core.

        Raises:
            UserError: ``folder`` is not a whole export of a token classifier.
        """
        self.record = read_record_of(TokenClassifierRecord, folder)
        self.tokenizer = load_tokenizer(folder, self.record.max_seq_length)
        self._graph = GraphRunner(folder / GRAPH, self.record.pad_token_id, threads)

    def logits(self, texts: Sequence[Tokens], *, token_budget: int | None = None) -> list[Floats]:
        """Of each text logits [tokens, labels] float32, in their order.

        Args:
            texts: their tokens, no more than the graph has positions for.
            token_budget: padded tokens of a batch; None for what suits the device.
        """
        found = [np.zeros((0, len(self.record.labels)), np.float32) for _ in texts]

        def take(places: list[int], tokens: Sequence[Tokens], said: Floats) -> None:
            for place, text, row in zip(places, tokens, said, strict=True):
                found[place] = row[: len(text.ids)]

        self._graph.run("logits", texts, list, take, token_budget)
        return found


def _expanded(tokens: Tokens, side: Side) -> Tokens:
    """``tokens`` filled up to as many as the side asks for (query augmentation, arXiv:2004.12832)."""
    missing = max(0, side.expanded_to - len(tokens.ids))
    ids = [*tokens.ids, *[side.expansion_token_id] * missing]
    seen = len(ids) if side.attends_to_expansion else tokens.seen
    return Tokens(ids, [*tokens.types, *[0] * missing], seen)
