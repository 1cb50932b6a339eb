"""Students without a transformer: one vector a token, a text is the mean of its tokens'.

They start as Model2Vec does (Tulkens and van Dongen, 2024): the teacher reads each token of its
vocabulary by itself, and tokens weigh less the more often they come (smooth inverse frequency,
Arora et al., 2017, from counts in the training text). From there they are trained like any other
student, and far: on text like what they will meet they keep most of a teacher's retrieval.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from ragdistill.encoder import Encoder, Prompts, StaticEncoder
from ragdistill.errors import UserError
from ragdistill.progress import track

_SIF = 1e-3
_UNSEEN = 0.5
"""The count of a token that the training text does not hold."""
_AT_ONCE = 1024


def check_teacher(teacher: Encoder | None) -> Encoder:
    """The teacher that a static student can be made of.

    Raises:
        UserError: it does not run here, or has no tokenizer that can be taken over.
    """
    mend = "name another --student"
    if teacher is None:
        raise UserError(
            "a static student is made of the teacher's own vocabulary, and that is not here",
            where="--student",
            mend=mend,
        )
    if not isinstance(getattr(teacher.tokenizer, "_tokenizer", None), Tokenizer):
        raise UserError("the teacher has no fast tokenizer", where="--student", mend=mend)
    return teacher


def make_static(teacher: Encoder, prompts: Prompts, texts: Sequence[str]) -> StaticEncoder:
    """A static student that has learnt nothing yet: the teacher's vectors of single tokens, centred
    and weighted by how rare the token is in ``texts``, prompts and all; texts are cut where the
    teacher cuts them."""
    source = check_teacher(teacher).tokenizer._tokenizer
    tokenizer = Tokenizer.from_str(source.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(teacher.max_length)
    vectors = _token_vectors(teacher, tokenizer.get_vocab_size())
    vectors -= vectors.mean(axis=0)
    vectors *= _rarity(tokenizer, texts)[:, None]
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=vectors), Normalize()],
        device=str(teacher.model.device),
        prompts={"query": prompts.query, "document": prompts.passage},
    )
    return StaticEncoder(model)


def _token_vectors(teacher: Encoder, count: int) -> NDArray[np.float32]:
    """The teacher's unit vector of each token between those that begin and end a text, ``[v, d]``."""
    whole = teacher.tokenise(["a"])[0]
    inner = len(teacher.tokenizer.encode("a", add_special_tokens=False))
    before = whole.index(teacher.tokenizer.encode("a", add_special_tokens=False)[0])
    begin, end = whole[:before], whole[before + inner :]
    found = np.empty((count, teacher.dimensions), dtype=np.float32)
    with track("vocabulary", count) as advance:
        for start in range(0, count, _AT_ONCE):
            rows = [[*begin, token, *end] for token in range(start, min(start + _AT_ONCE, count))]
            found[start : start + len(rows)] = teacher.forward(rows).vectors
            advance(len(rows), 0)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return found


def _rarity(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """``a / (a + p)`` of each token ``[v]``, ``p`` its share of all tokens in ``texts``."""
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), _AT_ONCE):
        part = list(texts[start : start + _AT_ONCE])
        for encoding in tokenizer.encode_batch_fast(part, add_special_tokens=False):
            counts.update(encoding.ids)
    seen = np.full(tokenizer.get_vocab_size(), _UNSEEN)
    seen[list(counts)] = list(counts.values())
    weights: NDArray[np.float32] = (_SIF / (_SIF + seen / max(1, counts.total()))).astype("f4")
    return weights
