"""The teacher's vectors and token states of texts, kept in the signal store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ragdistill.models.resolve import ResolvedModel
from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import SignalStore, Space
from ragdistill_embedder.encoder import Answer, Encoder, Prompts
from ragdistill_embedder.texts import Role, TrainText

WINDOW = 4096
"""Texts that are tokenised and sorted by length at a time: enough that batches pad little, and few
enough that memory does not grow with the corpus."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What the teacher was asked in this start."""

    texts: int
    tokens: int


def fingerprints(
    model: ResolvedModel,
    prompts: Prompts,
    *,
    max_length: int,
    dimensions: int,
    dtype: str,
    window: int | None = None,
) -> dict[Role, Fingerprint]:
    """What identifies the teacher's vectors of queries and of passages: one and the same where
    their prompts are. With a ``window``, its token states in runs of that many tokens."""
    by_role: Mapping[Role, str] = {"query": prompts.query, "passage": prompts.passage}
    return {
        role: Fingerprint(
            kind="vector" if window is None else "windows",
            weights=model.weights_digest,
            tokenizer=model.tokenizer_digest,
            prompt=prompt,
            pooling=model.pooling_digest if window is None else "",
            max_length=max_length,
            dtype=dtype,
            dimensions=dimensions,
            parameters={} if window is None else {"window": window},
        )
        for role, prompt in by_role.items()
    }


def open_spaces(
    store: SignalStore, prints: Mapping[Role, Fingerprint], teacher: str, *, accept_change: bool
) -> dict[Role, Space]:
    """The spaces of both roles; one object where they are the same space."""
    opened: dict[str, Space] = {}
    for fingerprint in prints.values():
        if fingerprint.id not in opened:
            opened[fingerprint.id] = store.space(
                fingerprint, teacher=teacher, accept_change=accept_change
            )
    return {role: opened[fingerprint.id] for role, fingerprint in prints.items()}


@dataclass(frozen=True, slots=True)
class Wish:
    """Texts, and what is to be stored of them."""

    texts: Sequence[TrainText]
    spaces: Mapping[Role, Space]
    """Of their vectors."""
    windows: Mapping[Role, Space] | None = None
    """Of their token states, if those are wanted, too."""
    window: int | None = None
    """Tokens of a run of those."""

    def of(self, role: Role) -> list[str]:
        """The texts of one role."""
        return [item.text for item in self.texts if item.role == role]

    def missing(self, role: Role, texts: Sequence[str]) -> list[int]:
        """Places of the texts of which something is not stored yet."""
        keys = [text_key(text) for text in texts]
        found = set(self.spaces[role].missing(keys))
        if self.windows is not None:
            found |= set(self.windows[role].missing(keys))
        return sorted(found)

    def unasked(self) -> list[TrainText]:
        """The texts of which something is not stored yet."""
        found = []
        for role in ("query", "passage"):
            mine = self.of(role)
            found += [TrainText(mine[place], role) for place in self.missing(role, mine)]
        return found

    def missing_bytes(self, tokens: int) -> int:
        """Bytes that what is not stored yet will take, of texts of so many ``tokens``, about."""
        total = 0
        for role in ("query", "passage"):
            keys = [text_key(text) for text in self.of(role)]
            vectors = self.spaces[role]
            total += len(vectors.missing(keys)) * vectors.record_bytes
            if self.windows is not None and self.window:
                states = self.windows[role]
                runs = -(-tokens // self.window)
                total += len(states.missing(keys)) * runs * states.codec.record_bytes
        return total


def collect(encoder: Encoder, wishes: Sequence[Wish], prompts: Mapping[Role, str]) -> Collected:
    """Ask the teacher for everything that is not stored yet.

    Each batch is stored as soon as it is answered, so that a killed collection loses at most the
    batch that the teacher was working on. Memory is bounded by :data:`WINDOW` texts.

    Raises:
        UserError: the teacher returned NaN or infinity; the store cannot be written.
    """
    asked = tokens = 0
    with track("teacher", sum(len(wish.texts) for wish in wishes)) as advance:
        for wish in wishes:
            for role in ("query", "passage"):
                mine = wish.of(role)
                with ExitStack() as stack:
                    take = _taker(wish, role, stack)
                    for start in range(0, len(mine), WINDOW):
                        window = mine[start : start + WINDOW]
                        missing = wish.missing(role, window)
                        advance(len(window) - len(missing), 0)
                        todo = [window[place] for place in missing]
                        asked += len(todo)
                        tokens += _ask(encoder, todo, prompts[role], wish.window, take, advance)
    return Collected(asked, tokens)


Take = Callable[[Sequence[bytes], Answer], None]


def _taker(wish: Wish, role: Role, stack: ExitStack) -> Take:
    """What stores of an answer what is not stored yet."""
    space, states = wish.spaces[role], wish.windows[role] if wish.windows else None
    vectors = stack.enter_context(space.writer())
    windows = None if states is None else stack.enter_context(states.writer())

    def take(keys: Sequence[bytes], answer: Answer) -> None:
        if states is not None and windows is not None:
            fresh = states.missing(keys)
            windows.append([keys[place] for place in fresh], [answer.windows[p] for p in fresh])
        fresh = space.missing(keys)
        vectors.append([keys[place] for place in fresh], answer.vectors[fresh])

    return take


def _ask(
    encoder: Encoder,
    texts: Sequence[str],
    prompt: str,
    window: int | None,
    take: Take,
    advance: Callable[[int, int], None],
) -> int:
    """Ask for some texts, and store each batch as it comes; returns the teacher's tokens."""
    rows = encoder.tokenise(texts, prompt)
    total = 0
    for places, answer in encoder.batches(rows, prompt, window=window):
        take([text_key(texts[place]) for place in places], answer)
        tokens = sum(len(rows[place]) for place in places)
        total += tokens
        advance(len(places), tokens)
    return total
