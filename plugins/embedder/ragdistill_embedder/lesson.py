"""Which texts are learnt from, and in which order: settled before the teacher is asked, so that its
token states are asked for only where training will look at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragdistill.data.sampling import sample
from ragdistill.data.training_texts import Role, TrainText
from ragdistill.encoder import Encoder, Rows
from ragdistill.training import trackers
from ragdistill.training.fitting import Pace
from ragdistill.training.schedule import Schedule, evaluation_schedule, training_schedule
from ragdistill_embedder.config import EmbedderConfig

HELD_OUT = 0.05
"""Share of the training texts that only the held-out loss sees."""
HELD_OUT_MOST = 512
"""And no more than so many: it is taken again and again, and is steady enough with these."""
_CHUNK = 4096
_LAYERS = (4.0, 1_000_000, 1024, 1e-3)
"""Passes, tokens in all, tokens a step and learning rate of a student that has layers."""
_STATIC = (12.0, 8_000_000, 12_288, 3e-3)
"""And of one that has none (benchmarks/LOG.md)."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """How the student is fitted."""

    epochs: float
    max_tokens: int
    batch_tokens: int
    similarity_weight: float
    state_weight: float
    temperature: float = 0.05
    objective: str | None = None
    """Of ``ragdistill_embedder.contrastive``: what is learnt of mined texts, if anything."""
    objective_weight: float = 0.0
    negatives: int = 7
    chunk_tokens: int = 1024
    """Tokens, padding included, whose activations are held at once where texts are mined."""


def make_recipe(
    config: EmbedderConfig,
    *,
    static: bool,
    similarity_weight: float,
    state_weight: float,
    objective: str | None = None,
    objective_weight: float = 0.0,
) -> Recipe:
    """What ``config`` says, and for what it leaves open what suits the student: a static one costs
    next to nothing a token, and needs many to move its many vectors."""
    epochs, tokens, batch, lr = _STATIC if static else _LAYERS
    if objective and not static:
        batch = 8192
    return Recipe(
        epochs=config.epochs or epochs,
        max_tokens=config.train_tokens or tokens,
        batch_tokens=config.batch_tokens or batch,
        lr=config.lr or lr,
        seed=config.seed,
        similarity_weight=similarity_weight,
        state_weight=state_weight,
        temperature=config.temperature,
        objective=objective,
        objective_weight=objective_weight,
        negatives=config.negatives,
        chunk_tokens=config.chunk_tokens,
        lora=config.lora,
        trackers=trackers.parse(config.report_to),
    )


@dataclass(frozen=True)
class Lesson:
    """Texts to learn from, with those held out behind them, and the batches of both."""

    texts: Sequence[TrainText]
    count: int
    """How many of ``texts`` train; the rest is held out."""
    train: Schedule
    check: Schedule

    def studied(self) -> set[TrainText]:
        """The texts that training meets: a budget of tokens may end before all had their turn."""
        places = {place for batch in (*self.train, *self.check) for place in batch}
        return {self.texts[place] for place in places}


def in_order(texts: Sequence[TrainText], seed: int) -> tuple[list[TrainText], int]:
    """Texts that train, those held out behind them, and how many train."""
    wanted = min(max(1, round(HELD_OUT * len(texts))), HELD_OUT_MOST)
    held_out = sample(texts, wanted, seed, key=lambda item: item.text)
    apart = set(held_out)
    train = [item for item in texts if item not in apart]
    return [*train, *held_out], len(train)


def make_lesson(
    texts: Sequence[TrainText], count: int, lengths: Sequence[int], recipe: Recipe
) -> Lesson:
    """The batches of ``texts`` (from :func:`in_order`), which have ``lengths`` tokens."""
    train = training_schedule(
        lengths[:count],
        epochs=recipe.epochs,
        max_tokens=recipe.max_tokens,
        batch_tokens=recipe.batch_tokens,
        seed=recipe.seed,
    )
    held_out = evaluation_schedule(lengths[count:], 2 * recipe.batch_tokens).batches
    check = Schedule([[count + place for place in batch] for batch in held_out])
    return Lesson(texts, count, train, check)


def tokenised(encoder: Encoder, texts: Sequence[TrainText], prompts: Mapping[Role, str]) -> Rows:
    """Token ids of each text behind the prompt of its role."""
    rows: Rows = [[] for _ in texts]
    for role in ("query", "passage"):
        places = [place for place, item in enumerate(texts) if item.role == role]
        made = encoder.tokenise([texts[place].text for place in places], prompts[role])
        for place, row in zip(places, made, strict=True):
            rows[place] = row
    return rows


def token_lengths(
    encoder: Encoder, texts: Sequence[TrainText], prompts: Mapping[Role, str]
) -> list[int]:
    """Tokens of each text; the ids themselves are not kept, for a corpus may be large."""
    return [
        max(1, len(row))
        for start in range(0, len(texts), _CHUNK)
        for row in tokenised(encoder, texts[start : start + _CHUNK], prompts)
    ]
