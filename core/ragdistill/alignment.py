"""Two tokenizers of one text: which tokens cover the same bytes, and what a distribution over the one's
tokens says of the other's.

Tokens of the same text are grouped between the places at which both break (as GOLD and TRL's cross-tokenizer
loss group them; Universal Logit Distillation, arXiv:2402.12030, compares sorted probabilities instead, which
forgets what the tokens are). Where one token faces one token, what the teacher said of the next token is said of
the student's, too: ids whose strings both have are mapped, the mass of the others goes to the tail. Where one
token of the student faces several of the teacher, the chain rule gives the probability of that one token, and
the tail has the rest. Where the student breaks a token of the teacher, nobody knows what it would have said.

Places are bytes of the text in UTF-8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ragdistill.errors import UserError
from ragdistill.signals.distributions import Array, TokenDistributions

UNSHARED = -1
"""In place of an id that the other tokenizer does not have."""
_UNKNOWN = "\ufffd"
_ANCHOR = "a"
"""What stands before each token whose string is asked for, so that it is not the first."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A token of the student, and the teacher's tokens ``[start, stop)`` that cover the same bytes."""

    ours: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a teacher's distributions could be said in the student's tokens."""

    tokens: int = 0
    """Of answers, as the student reads them."""
    mapped: int = 0
    """Of those, how many face one token of the teacher."""
    merged: int = 0
    """How many face several, so that only their own probability is known."""
    mass: float = 0.0
    """Probability that went to ids that both have, the sum over what is ``mapped``."""

    def __add__(self, other: "Coverage") -> "Coverage":
        return Coverage(
            self.tokens + other.tokens,
            self.mapped + other.mapped,
            self.merged + other.merged,
            self.mass + other.mass,
        )

    @property
    def of_tokens(self) -> float:
        """Share of the tokens that have a distribution."""
        return (self.mapped + self.merged) / max(self.tokens, 1)

    @property
    def of_mass(self) -> float | None:
        """Share of the mass of mapped distributions that is on ids that both have; None where none is."""
        return self.mass / self.mapped if self.mapped else None

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "tokens": self.tokens,
            "mapped": self.mapped,
            "merged": self.merged,
            "share_of_tokens": self.of_tokens,
            "share_of_mass": self.of_mass,
        }


def total(parts: Sequence[Coverage]) -> Coverage:
    """That of all together."""
    return reduce(Coverage.__add__, parts, Coverage())


def byte_ends(tokenizer: Any, text: str) -> list[int]:
    """Where each token of ``text`` ends, in bytes: what lies between two tokens belongs to the later, what is
    behind the last to it. Of tokens within one character the first covers it.

    Raises:
        UserError: the tokenizer does not tell where its tokens are.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "does not tell which characters a token covers, so its tokens cannot be aligned",
            where=tokenizer.name_or_path or "tokenizer",
            mend="give --method sequence, or a model with a fast tokenizer",
        )
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places = np.cumsum([0, *(len(character.encode()) for character in text)])
    ends = np.maximum.accumulate(
        np.array([places[end] for _, end in made["offset_mapping"]], np.int64)
    )
    if len(ends):
        ends[ends == ends[-1]] = places[-1]
    return [int(end) for end in ends]


def surfaces(tokenizer: Any) -> list[str | None]:
    """What each id adds to a text that it stands within; None for special ids, and those that add nothing.
    Of a part of a character the token's own name."""
    backend, special = tokenizer.backend_tokenizer, {*tokenizer.all_special_ids}
    (anchor, *_) = tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]
    before = len(backend.decode([anchor], skip_special_tokens=False))
    ids = range(len(tokenizer))
    told = backend.decode_batch([[anchor, id] for id in ids], skip_special_tokens=False)
    found: list[str | None] = []
    for id, text in zip(ids, told, strict=True):
        name, added = backend.id_to_token(id), text[before:]
        if id in special or name is None or not added:
            found.append(None)
        else:
            found.append(f"{_UNKNOWN}{name}" if _UNKNOWN in added else added)
    return found


def shared_ids(theirs: Any, ours: Any) -> Array:
    """For each id of tokenizer ``theirs`` the id of ``ours`` of the same string, else :data:`UNSHARED`: int64
    ``[v]``. Where several have it, one of the same name is taken, or the least."""
    names, told = ours.get_vocab(), surfaces(ours)
    by_text: dict[str, int] = {}
    for id in range(len(told) - 1, -1, -1):
        text = told[id]
        if text is not None:
            by_text[text] = id
    found = np.full(len(theirs), UNSHARED, np.int64)
    for id, text in enumerate(surfaces(theirs)):
        if text is None:
            continue
        same = names.get(theirs.backend_tokenizer.id_to_token(id))
        found[id] = same if same is not None and told[same] == text else by_text.get(text, UNSHARED)
    return found


def facing(
    theirs: Sequence[int],
    ours: Sequence[int],
    their_labels: Sequence[int],
    our_labels: Sequence[int],
    shared: Array,
) -> list[Pair]:
    """The student's tokens that face one or several of the teacher's, in order.

    Args:
        theirs: where the teacher's tokens end, in bytes, never falling ``[n]``.
        ours: the student's ``[m]``.
        their_labels: the tokens themselves ``[n]``.
        our_labels: the student's ``[m]``.
        shared: of :func:`shared_ids`.
    """
    pairs: list[Pair] = []
    left = right = 0
    for end in sorted({*theirs} & {*ours}):
        start, at = left, right
        while left < len(theirs) and theirs[left] <= end:
            left += 1
        while right < len(ours) and ours[right] <= end:
            right += 1
        if right - at == 1 and left > start:
            pairs.append(Pair(at, start, left))
        elif left - start == right - at and all(
            shared[their_labels[start + step]] == our_labels[at + step]
            for step in range(left - start)
        ):  # parts of one character, broken alike
            pairs += [
                Pair(at + step, start + step, start + step + 1) for step in range(left - start)
            ]
    return pairs


def translated(
    said: TokenDistributions,
    pairs: Sequence[Pair],
    our_labels: Sequence[int],
    shared: Array,
    *,
    chain: bool,
) -> tuple[TokenDistributions | None, list[int], Coverage]:
    """What a teacher ``said`` of its tokens, of the student's.

    Args:
        said: of the teacher's ``n`` tokens.
        pairs: of :func:`facing`.
        our_labels: the student's tokens ``[m]``.
        shared: of :func:`shared_ids`.
        chain: whether the probabilities of several tokens may be multiplied: not of tempered ones.

    Returns:
        Distributions of some of the student's tokens, those tokens' places, and the coverage; the first is
        None where there are none. Entries and tail of each sum to what they summed to.
    """
    parts: list[TokenDistributions] = []
    places: list[int] = []
    mapped = merged = 0
    mass = 0.0
    for pair in pairs:
        label = our_labels[pair.ours]
        if pair.stop - pair.start == 1:
            part, kept = _renamed(said.part(pair.start, pair.stop), label, shared)
            mapped, mass = mapped + 1, mass + kept
        else:
            log = float(said.label_log_probs[pair.start : pair.stop].sum())
            if not chain or not np.isfinite(log):
                continue
            part, merged = _alone(label, log), merged + 1
        parts.append(part)
        places.append(pair.ours)
    found = TokenDistributions.joined(parts) if parts else None
    return found, places, Coverage(len(our_labels), mapped, merged, mass)


def _renamed(
    said: TokenDistributions, label: int, shared: Array
) -> tuple[TokenDistributions, float]:
    """One token's distribution over the student's ids, and the share of its entries' mass that is there. The
    tokens that were said cover the same bytes, so they are each other's whatever their strings."""
    ids = shared[said.ids]
    # What is said of another token must not be said of the label because their strings are alike.
    ids = np.where(said.ids == said.labels[0], label, np.where(ids == label, UNSHARED, ids))
    there = ids != UNSHARED
    kept, place = np.unique(ids[there], return_inverse=True)
    probs = np.bincount(place, weights=said.probs[there], minlength=len(kept))
    lost = float(said.probs[~there].sum(dtype=np.float64))
    whole = float(said.probs.sum(dtype=np.float64))
    made = TokenDistributions(
        np.array([len(kept)], np.int32),
        kept.astype(np.int32),
        probs.astype(np.float32),
        (said.tail + np.float32(lost)).astype(np.float32),
        np.array([label], np.int32),
        said.label_log_probs,
    )
    return made, 1 - lost / whole if whole else 0.0


def _alone(label: int, log: float) -> TokenDistributions:
    """A token's probability, and all others together."""
    prob = np.exp([log]).astype(np.float32)
    return TokenDistributions(
        np.ones(1, np.int32),
        np.array([label], np.int32),
        prob,
        1 - prob,
        np.array([label], np.int32),
        np.array([log], np.float32),
    )
