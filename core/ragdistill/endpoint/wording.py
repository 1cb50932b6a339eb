"""Whether an endpoint words its replies as it did.

Nobody outside sees more of a model than what it writes and what it is called. So it is known by how it
goes on with a few openings when it takes the likeliest token every time. That tells models of one family
apart and most ways of training one further; it cannot tell what does not show in so few words.
"""

from collections.abc import Sequence
from itertools import takewhile
from operator import eq

import numpy as np

from ragdistill.endpoint.identity import Answers, Probes

PROBES = (
    "Describe a harbour at night in one sentence.",
    "Erkläre in einem Satz, was ein Vertrag ist.",
    "Write a Python function that returns the median of a list.",
    "Give a synonym of 'brittle' and use it in a sentence.",
    "Why is the sky red in the evening?",
    "What is 37 times 43? Show the steps.",
    "Name three rivers of Africa and where they end.",
    "Who are you, and who made you?",
    "Continue: The old clock on the wall",
    "Translate into French: The train leaves at noon.",
    "Explain recursion to a child.",
    "What do bees do in winter?",
)
PROBE_TOKENS = 12
"""Tokens that are written of each."""
SIGNS = 32
"""Of what is written so many count: the further on, the likelier that rounding has led elsewhere."""
LEAST_ALIKE = 0.75
"""Share of them that has to come again before the first other one, on average over the probes. With
SmolLM2-135M, bfloat16 in batches of 12, 3 and 1 keeps 0.95 and more of itself and 0.89 of float32; of
float32, eight bits keep 1.00, six 0.68, five 0.33 and four 0.20. Larger models waver less."""


def encode(model: str, texts: Sequence[str]) -> Answers:
    """What the model is called, and what it says of each probe, as code points, float32 ``[1 + n,
    longest]`` (which holds them all exactly), with zeros behind."""
    rows = [[ord(sign) for sign in text] for text in (model, *texts)]
    found = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.float32)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found


def decode(answers: Answers) -> tuple[str, list[str]]:
    """The inverse of ``encode``."""
    model, *texts = ("".join(map(chr, row[row > 0].astype(int).tolist())) for row in answers)
    return model, texts


def alike(known: Sequence[str], texts: Sequence[str]) -> float:
    """How far the first signs of ``texts`` go with those that are ``known``, from 0 to 1, on average over
    those that both have something of; 1 if there are none."""
    both = [
        (one[:SIGNS], other[:SIGNS])
        for one, other in zip(known, texts, strict=True)
        if one and other
    ]
    shares = [_common(*pair) / max(map(len, pair)) for pair in both]
    return sum(shares) / len(shares) if shares else 1.0


def _common(one: str, other: str) -> int:
    """Signs before the first that differs."""
    return sum(1 for _ in takewhile(bool, map(eq, one, other)))


def difference(known: Answers, answers: Answers) -> str | None:
    """How ``answers`` differ from those that are ``known``; None where one model may have given both,
    whose server batches differently every time."""
    (name, before), (now, texts) = decode(known), decode(answers)
    if now != name:
        return f"it calls itself {now!r}, and was {name!r}"
    same = alike(before, texts)
    return None if same >= LEAST_ALIKE else f"it words its replies otherwise ({same:.0%} alike)"


KNOWN_BY = Probes(PROBES, difference, "code_points")
