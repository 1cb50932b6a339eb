"""The four stages of a stack: what each asks its part, and what it makes of what is said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from ragdistill.errors import UserError
from ragdistill.files import sha256_json
from ragdistill.rag.cache import Cache, Said, request_key, said
from ragdistill.rag.pipeline import Asking, Seen, Stage
from ragdistill.rag.retrieval import Corpus, StackRetriever, anchored, fused
from ragdistill.rag.serving import Answer, Generator, Part, Reranker, Rewriter
from ragdistill.rag.stack import Generation, Reranking
from ragdistill.signals.fingerprint import pair_key
from ragdistill.signals.store import Writer

_RRF = 60.0
"""The constant of the fusion of a reranker's order with the one that it was given."""


class _OfPart(Stage):
    """A stage that is one part."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.name, part.fingerprint)
        self._part = part

    def load(self) -> None:
        """See :class:`Stage`."""
        self._part.load()

    def close(self) -> None:
        """See :class:`Stage`."""
        self._part.close()


class Rewriting(_OfPart):
    """The question, understandable by itself."""

    role = "rewriter"

    def __init__(self, part: Rewriter, anchor: int = 0) -> None:
        super().__init__(part)
        self._rewriter, self._anchor = part, anchor

    @property
    def identity(self) -> str:
        """See :class:`Stage`."""
        anchor = self._anchor
        return sha256_json([self.fingerprint, anchor]) if anchor else self.fingerprint

    def request(self, seen: Seen) -> list[Any]:
        """See :class:`Stage`."""
        return [list(seen.query.context_turns), seen.query.text]

    def answer(self, seen: Seen) -> Any:
        """See :class:`Stage`."""
        return self._rewriter.rewrite(seen.query.context_turns, seen.query.text)

    def take(self, seen: Seen, value: Any) -> Seen:
        """See :class:`Stage`; a rewriter that says nothing leaves the query as it is."""
        question = str(value).strip() or seen.query.text
        anchor = self._anchor if question != seen.query.text else 0
        return replace(seen, question=question, anchor=anchor)


class Retrieving(Stage):
    """Documents of the corpus."""

    role = "embedder"

    def __init__(self, retriever: StackRetriever) -> None:
        super().__init__(retriever.name, retriever.fingerprint)
        self._retriever = retriever
        self.documents = retriever.documents

    def load(self) -> None:
        """See :class:`Stage`."""
        self._retriever.load()

    def close(self) -> None:
        """See :class:`Stage`."""
        self._retriever.close()

    def request(self, seen: Seen) -> list[Any]:
        """See :class:`Stage`."""
        return [seen.question, *([seen.query.text, seen.anchor] if seen.anchor else [])]

    def answer(self, seen: Seen) -> Any:
        """See :class:`Stage`."""
        found = self._retriever.search(seen.question)
        if seen.anchor:
            found = anchored(self._retriever.search(seen.query.text), found, seen.anchor)
        return [[name, score] for name, score in found]

    def take(self, seen: Seen, value: Any) -> Seen:
        """See :class:`Stage`."""
        found = tuple((str(name), float(score)) for name, score in value)
        return replace(seen, found=found, ranked=found)


class RerankingStage(_OfPart):
    """The first of them in another order."""

    role = "reranker"

    def __init__(self, part: Reranker, settings: Reranking, corpus: Corpus) -> None:
        super().__init__(part)
        self._reranker, self._settings, self._corpus = part, settings, corpus

    @property
    def identity(self) -> str:
        """See :class:`Stage`."""
        said_of = self._settings
        return sha256_json([self.fingerprint, said_of.k_in, said_of.k_out, said_of.fuse])

    def texts(self, seen: Seen) -> list[str]:
        """The documents that it reads."""
        return [self._corpus.by_id[name] for name, _ in seen.found[: self._settings.k_in]]

    def request(self, seen: Seen) -> list[Any]:
        """See :class:`Stage`."""
        return [seen.question, self.texts(seen)]

    def units(self, seen: Seen) -> list[bytes]:
        """See :class:`Stage`: pairs."""
        return [pair_key(seen.question, text) for text in self.texts(seen)]

    def whole_key(self, seen: Seen) -> bytes:
        """Where it is kept how long the first list of a question took, of those that are as long."""
        return request_key("whole", self._settings.k_in, seen.question)

    def prepare(self, texts: Sequence[str]) -> None:
        """Make what can be made of documents before they are asked about."""
        self._reranker.prepare(texts)

    def answer(self, seen: Seen) -> Any:
        """See :class:`Stage`."""
        return self.scores(seen.question, self.texts(seen))

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Of documents, one by one.

        Raises:
            UserError: one is NaN or infinite.
        """
        if not texts:
            return []
        found = np.asarray(self._reranker.scores(question, texts), np.float32)
        if found.shape != (len(texts),) or not np.isfinite(found).all():
            raise UserError(f"{self.name} gave {len(texts)} documents scores that rank nothing")
        return [float(each) for each in found]

    def opened(self, cache: Cache, asked: Sequence[Seen]) -> Asking:
        """See :class:`Stage`."""
        return _PairAsking(self, cache, asked)

    def take(self, seen: Seen, value: Any) -> Seen:
        """See :class:`Stage`; equal scores stay in the order in which they came."""
        settings, first = self._settings, seen.found[: self._settings.k_in]
        scored = [(name, float(score)) for (name, _), score in zip(first, value, strict=True)]
        ranked = sorted(scored, key=lambda item: -item[1])
        if settings.fuse == "rrf":
            ranked = fused([first, ranked], _RRF, settings.k_out)
        return replace(seen, ranked=tuple(ranked[: settings.k_out]))


class _PairAsking(Asking):
    """Of a list of which some documents were read for the question before, the others alone are read.

    What that takes is not what the list would take. So the first list of each question is read whole, and
    what it took stands for the others, which are as long.
    """

    def __init__(self, stage: RerankingStage, cache: Cache, asked: Sequence[Seen]) -> None:
        super().__init__(stage, cache.requests(stage.fingerprint))
        self._reranking, self._pairs = stage, cache.pairs(stage.fingerprint)
        keys = list(dict.fromkeys(key for seen in asked for key in stage.units(seen)))
        missing = {keys[place] for place in self._pairs.missing(keys)}
        known = [key for key in keys if key not in missing]
        scores = self._pairs.get(known).tolist() if known else []
        self._scores: dict[bytes, float] = dict(zip(known, scores, strict=True))
        whole = said(self.space, [stage.whole_key(seen) for seen in asked])
        self._whole = {key: told.seconds for key, told in whole.items()}
        self._taker: Writer | None = None
        self._new: dict[bytes, float] = {}

    def ask(self, new: Mapping[bytes, Seen]) -> dict[bytes, Said]:
        """See :class:`Asking`."""
        with self._pairs.writer() as self._taker:
            return super().ask(new)

    def prepare(self, asked: Sequence[Seen]) -> None:
        """See :class:`Asking`."""
        texts = dict.fromkeys(text for seen in asked for text in self._left(seen).values())
        self._reranking.prepare(list(texts))

    def _left(self, seen: Seen) -> dict[bytes, str]:
        """The documents that are to be read, by the keys of their pairs."""
        pairs = zip(self._reranking.units(seen), self._reranking.texts(seen), strict=True)
        whole = self._reranking.whole_key(seen) not in self._whole
        return {key: text for key, text in pairs if whole or key not in self._scores}

    def said(self, seen: Seen) -> Said:
        """See :class:`Asking`."""
        left, keys = self._left(seen), self._reranking.units(seen)
        started = perf_counter()
        found = self._reranking.scores(seen.question, list(left.values()))
        taken = perf_counter() - started
        read = zip(left, found, strict=True)
        self._new = {key: score for key, score in read if key not in self._scores}
        self._scores |= self._new
        seconds = self._whole.get(self._reranking.whole_key(seen), taken)
        return Said([self._scores[key] for key in keys], seconds)

    def keep(self, taker: Writer, key: bytes, seen: Seen, told: Said) -> None:
        """See :class:`Asking`."""
        if self._new and self._taker is not None:
            self._taker.append(list(self._new), np.array(list(self._new.values()), np.float32))
        whole = self._reranking.whole_key(seen)
        known = whole in self._whole or not told.value  # how long nothing takes says nothing
        first = {} if known else {whole: Said(None, told.seconds)}
        self._whole |= dict.fromkeys(first, told.seconds)
        kept = first | {key: told}
        taker.append(list(kept), [each.dumps() for each in kept.values()])


class Generating(_OfPart):
    """The answer."""

    role = "generator"

    def __init__(self, part: Generator, settings: Generation, corpus: Corpus) -> None:
        super().__init__(part)
        self._generator, self._settings, self._corpus = part, settings, corpus

    @property
    def identity(self) -> str:
        """See :class:`Stage`."""
        return sha256_json([self.fingerprint, self._settings.contexts])

    def contexts(self, seen: Seen) -> list[str]:
        """What it reads."""
        return [self._corpus.by_id[name] for name, _ in seen.ranked[: self._settings.contexts]]

    def request(self, seen: Seen) -> list[Any]:
        """See :class:`Stage`."""
        return [seen.question, self.contexts(seen)]

    def answer(self, seen: Seen) -> Any:
        """See :class:`Stage`."""
        told = self._generator.answer(seen.question, self.contexts(seen))
        if not isinstance(told, Answer):
            return told
        if not -math.inf < told.log_probability <= 0:
            raise UserError(f"{self.name} says {told.log_probability} of how likely its answer is")
        return [told.text, told.log_probability]

    def take(self, seen: Seen, value: Any) -> Seen:
        """See :class:`Stage`."""
        text, likely = value if isinstance(value, list) else (value, None)
        contexts = tuple(self.contexts(seen))
        return replace(seen, answer=str(text), log_probability=likely, contexts=contexts)
