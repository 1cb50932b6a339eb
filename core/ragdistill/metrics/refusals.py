"""What counts as saying that the context does not hold the answer.

A grounded prompt asks for one sentence, :data:`REFUSAL`, and tests look for it here: ask and count in
the same words. Models also say it in words of their own; the common ones are known below, in English.
"""

import re

REFUSAL = "I don't know."
"""What a grounded prompt asks to be said where the contexts do not hold the answer."""

_SOURCE = r"(?:contexts?|passages?|documents?|texts?|sources?|information|excerpts?)"
_NOT = r"(?:(?:do|does|did|can|could|is|are|was|were)(?: not|n['\u2019]t)|cannot)"
_VERBS = "contain|hold|have|give|provide|include|mention|say|state|specify|tell|answer"
_DONE = "answered|found|determined|mentioned|stated|specified|given|provided"
_PHRASES = (
    rf"\b{_SOURCE}(?: \w+){{0,2}}? {_NOT} (?:\w+ly )?(?:{_VERBS})\b",
    rf"\b{_NOT} (?:be )?(?:{_DONE})\b.{{0,40}}\b{_SOURCE}\b",
    rf"\b(?:i|we) {_NOT} (?:know|answer|find|determine|tell|say)\b",
    r"\b(?:not enough|insufficient|there is no|^no) (?:information|context)\b",
    r"^(?:unanswerable|not answerable|no answer|unknown|not stated|not mentioned)\W*$",
)
_REFUSES = re.compile("|".join(_PHRASES), re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]?")
_GOES_ON = re.compile(r"\b(?:but|however|nevertheless)\b", re.IGNORECASE)


def refuses(answer: str) -> bool:
    """Whether ``answer`` says that there is none.

    It does if it is empty (no letter or digit), or if its first sentence says so in one of the known
    ways and the answer does not take it back ("..., but it is 1889"). What it does not see: a refusal
    in other words or another language, and one that comes after an attempt.
    """
    folded = answer.strip()
    if not any(character.isalnum() for character in folded):
        return True
    first = _SENTENCE.match(folded)
    found = _REFUSES.search(" ".join(first[0].split())) if first else None
    return found is not None and not _GOES_ON.search(folded)
