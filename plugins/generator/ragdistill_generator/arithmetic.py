"""Numbers in texts, and the sums that are written out in them."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SIGNS = "-+*/\u00d7\u00f7\u2212"  # with the signs of multiplication, division and minus
_SUM = re.compile(
    rf"(?<![\w.,])({_NUMBER}(?:\s*[{_SIGNS}]\s*{_NUMBER})+)\s*=\s*({_NUMBER})(?![\d\w])"
)
_STEP = re.compile(
    r"^\s*\d+[.):](?=\s)|\b(?:step|context|passage) \d+", re.MULTILINE | re.IGNORECASE
)
_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_RECKONING = {Fraction(value) for value in (0, 1, 2, 100)}  # "half of", "per cent"
_AS_WRITTEN = str.maketrans("\u00d7\u00f7\u2212", "*/-")


def numbers(text: str) -> list[Fraction]:
    """The numbers of ``text`` by value: ``1,200.50`` is that of ``1200.5``; signs do not count."""
    return [_value(told) for told in re.findall(rf"(?<![\d.]){_NUMBER}", text)]


def sums(text: str) -> Iterator[bool]:
    """Of each sum that is written out (``4 * 7 + 2 = 30``) whether its result is right, as far as that is
    written: ``1 / 3 = 0.33`` is."""
    for told, result in _SUM.findall(text):
        value = _worked_out(told.translate(_AS_WRITTEN))
        decimals = len(result.partition(".")[2])
        yield value is not None and abs(value - _value(result)) <= Fraction(1, 2 * 10**decimals)


def unfounded(text: str, held: Sequence[str]) -> set[Fraction]:
    """The numbers of ``text`` that stand in none of ``held`` (in digits, or up to twelve in words), that it
    does not work out, and that neither number its steps nor belong to how one reckons."""
    known = {value for told in held for value in (*numbers(told), *_in_words(told))}
    known |= {_value(result) for _, result in _SUM.findall(text)}
    return {*numbers(_STEP.sub("", text))} - known - _RECKONING


def _in_words(text: str) -> Iterator[Fraction]:
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _WORDS:
            yield Fraction(_WORDS.index(word))


def without_results(text: str) -> str:
    """``text`` without any number that it works out itself."""
    worked_out = {_value(result) for _, result in _SUM.findall(text)}
    return re.sub(
        rf"(?<![\d.]){_NUMBER}",
        lambda found: "" if _value(found[0]) in worked_out else found[0],
        text,
    )


def _value(told: str) -> Fraction:
    return Fraction(told.replace(",", ""))


def _worked_out(told: str) -> Fraction | None:
    """The value of numbers with ``+ - * /`` between them; None where it has none."""
    total = Fraction(0)
    for sign, product in re.findall(rf"(^|[-+])\s*({_NUMBER}(?:\s*[*/]\s*{_NUMBER})*)", told):
        value = Fraction(1)
        for how, number in re.findall(rf"(^|[*/])\s*({_NUMBER})", product):
            if how == "/" and not _value(number):
                return None
            value = value / _value(number) if how == "/" else value * _value(number)
        total = total - value if sign == "-" else total + value
    return total
