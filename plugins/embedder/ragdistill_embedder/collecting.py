"""The teacher's vectors and token states of texts, kept in the signal store."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ragdistill.data.training_texts import Role, TrainText
from ragdistill.encoder import Answer, Prompts
from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import SignalStore, Space, Writer
from ragdistill_embedder.teacher import Batch, Source


@dataclass(frozen=True, slots=True)
class Collected:
    """What the teacher was asked in this start."""

    texts: int
    tokens: int


def by_role(prompts: Prompts) -> dict[Role, str]:
    """What goes before texts of each role."""
    return {"query": prompts.query, "passage": prompts.passage}


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
class Missing:
    """Places of texts of which something is not stored yet."""

    vectors: frozenset[int]
    states: frozenset[int]

    @property
    def places(self) -> list[int]:
        """Those of which the teacher has to be asked, in order."""
        return sorted(self.vectors | self.states)


@dataclass(frozen=True, slots=True)
class Wish:
    """A teacher, texts, and what is to be stored of what it says of them."""

    source: Source
    """The teacher that is asked."""
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

    def missing(self, role: Role, texts: Sequence[str]) -> Missing:
        """What is not stored yet of ``texts``."""
        keys = [text_key(text) for text in texts]
        states = [] if self.windows is None else self.windows[role].missing(keys)
        return Missing(frozenset(self.spaces[role].missing(keys)), frozenset(states))

    def unasked(self) -> list[TrainText]:
        """The texts of which something is not stored yet."""
        found: dict[tuple[str, str], TrainText] = {}
        for role in ("query", "passage"):
            mine = self.of(role)
            for place in self.missing(role, mine).places:
                # Where both roles have one prompt, what is asked for the one serves the other.
                found.setdefault((self.spaces[role].id, mine[place]), TrainText(mine[place], role))
        return list(found.values())

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


def collect(wishes: Sequence[Wish]) -> Collected:
    """Ask the teachers for everything that is not stored yet.

    Each batch is stored as soon as it is answered, so that a killed collection loses at most the
    batches that the teacher was working on. Memory is bounded by the texts that a
    teacher is asked about at once.

    Raises:
        UserError: a teacher does not answer, or returned NaN or infinity; the store cannot be
            written.
    """
    asked = tokens = 0
    with track("teacher", sum(len(wish.texts) for wish in wishes)) as advance:
        for wish in wishes:
            prompts, at_once = by_role(wish.source.prompts), wish.source.at_once
            for role in ("query", "passage"):
                mine = wish.of(role)
                with ExitStack() as stack:
                    vectors = stack.enter_context(wish.spaces[role].writer())
                    states = (
                        None
                        if wish.windows is None
                        else stack.enter_context(wish.windows[role].writer())
                    )
                    for start in range(0, len(mine), at_once):
                        window = mine[start : start + at_once]
                        missing = wish.missing(role, window)
                        advance(len(window) - len(missing.places), 0)
                        asked += len(missing.places)
                        for places, answer, count in _answers(
                            wish.source, window, missing.places, prompts[role], wish.window
                        ):
                            _store(window, places, answer, missing, vectors, states)
                            tokens += count
                            advance(len(places), count)
    return Collected(asked, tokens)


def _answers(
    source: Source, texts: Sequence[str], asked: Sequence[int], prompt: str, window: int | None
) -> Iterator[Batch]:
    """Places in ``texts`` of a batch, what the teacher says of them, and their tokens."""
    wanted = [texts[place] for place in asked]
    for batch, answer, tokens in source.answers(wanted, prompt, window=window):
        yield [asked[item] for item in batch], answer, tokens


def _store(
    texts: Sequence[str],
    places: Sequence[int],
    answer: Answer,
    missing: Missing,
    vectors: Writer,
    states: Writer | None,
) -> None:
    """Store of an answer what is not stored yet; states first, so that a text whose vector this
    collection has stored is done."""
    if states is not None:
        fresh = [slot for slot, place in enumerate(places) if place in missing.states]
        keys = [text_key(texts[places[slot]]) for slot in fresh]
        states.append(keys, [answer.windows[slot] for slot in fresh])
    fresh = [slot for slot, place in enumerate(places) if place in missing.vectors]
    vectors.append([text_key(texts[places[slot]]) for slot in fresh], answer.vectors[fresh])
