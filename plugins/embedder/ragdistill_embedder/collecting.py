"""The teacher's vectors of the training texts, kept in the signal store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragdistill.models.resolve import ResolvedModel
from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import SignalStore, Space, Writer
from ragdistill_embedder.encoder import Encoder, Prompts
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
    model: ResolvedModel, prompts: Prompts, *, max_length: int, dimensions: int, dtype: str
) -> dict[Role, Fingerprint]:
    """What identifies the teacher's vectors of queries and of passages: one and the same where
    their prompts are."""
    by_role: Mapping[Role, str] = {"query": prompts.query, "passage": prompts.passage}
    return {
        role: Fingerprint(
            kind="vector",
            weights=model.weights_digest,
            tokenizer=model.tokenizer_digest,
            prompt=prompt,
            pooling=model.pooling_digest,
            max_length=max_length,
            dtype=dtype,
            dimensions=dimensions,
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


def collect(
    encoder: Encoder,
    texts: Sequence[TrainText],
    prompts: Mapping[Role, str],
    spaces: Mapping[Role, Space],
) -> Collected:
    """Ask the teacher for every text whose vector is not stored yet.

    Each batch is stored as soon as it is answered, so that a killed collection loses at most the
    batch that the teacher was working on. Memory is bounded by :data:`WINDOW` texts.

    Raises:
        UserError: the teacher returned NaN or infinity; the store cannot be written.
    """
    asked = tokens = 0
    with track("teacher", len(texts)) as advance:
        for role in ("query", "passage"):
            mine = [item.text for item in texts if item.role == role]
            space = spaces[role]
            with space.writer() as writer:
                for start in range(0, len(mine), WINDOW):
                    window = mine[start : start + WINDOW]
                    missing = space.missing([text_key(text) for text in window])
                    advance(len(window) - len(missing), 0)
                    wanted = [window[place] for place in missing]
                    asked += len(wanted)
                    tokens += _ask(encoder, wanted, prompts[role], writer, advance)
    return Collected(asked, tokens)


def _ask(
    encoder: Encoder,
    texts: Sequence[str],
    prompt: str,
    writer: Writer,
    advance: Callable[[int, int], None],
) -> int:
    """Ask for one window, and store each batch as it comes; returns the teacher's tokens."""
    rows = encoder.tokenise(texts, prompt)
    total = 0
    for places, vectors in encoder.batches(rows, prompt):
        writer.append([text_key(texts[place]) for place in places], vectors)
        tokens = sum(len(rows[place]) for place in places)
        total += tokens
        advance(len(places), tokens)
    return total
