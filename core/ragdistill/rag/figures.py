"""From what people write, and from what runs measured, to a :class:`ragdistill.rag.cost.Case`.

How a part is paid for is one word: ``usd:130`` for a million requests, ``api:NAME:1000+200`` tokens
read and written a request, ``gpu:NAME:40`` requests a second on a machine (``gpu:NAME:1200/200``
tokens a second, tokens an answer), or ``RUN@NAME``: as the run measured it, on that machine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from ragdistill.errors import UserError
from ragdistill.mappings import checked, parse_mapping, read_mapping
from ragdistill.rag.cost import Case, Once, Part, Serving, on_machine
from ragdistill.rag.measured import Measured, measured
from ragdistill.rag.prices import Prices

_STRICT: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False, "coerce_numbers_to_str": True}
_FORMS = "usd:130, api:NAME:1000, gpu:NAME:40 or RUN@NAME"
_ONCE_FORMS = "a number of US dollars, api:NAME:TOKENS or gpu:NAME:HOURS"
Side = Literal["teacher", "student"]


@dataclass(frozen=True, slots=True)
class PartFigures:
    """One part as people write it."""

    teacher: str
    student: str
    capture: str | None = None
    training: str | None = None
    reindex: str | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True)
class Figures:
    """A file of figures; what is not in it is as here."""

    traffic: Annotated[float, Gt(0)]
    """Requests a month."""
    parts: dict[str, PartFigures] = field(default_factory=dict)
    capture: str | None = None
    training: str | None = None
    reindex: str | None = None
    hit_rate: Annotated[float, Ge(0), Lt(1)] = 0.0
    escalated: Annotated[float, Ge(0), Le(1)] = 0.0
    utilisation: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of its throughput that a machine is loaded with, on average."""
    least: Annotated[float, Ge(0)] = 1.0
    """Machines of each part that are always up."""
    months: Annotated[float, Gt(0)] = 12.0
    distillations: Annotated[int, Ge(1)] = 1
    documents: Annotated[int, Ge(0)] | None = None
    """How many have to be embedded again."""
    answer_tokens: Annotated[float, Gt(0)] = 200.0
    """Tokens of an answer, for runs whose throughput is of tokens."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


def example() -> dict[Any, Any]:
    """The guides' own example, which comes along."""
    text = files("ragdistill.rag").joinpath("figures.yaml").read_text(encoding="utf-8")
    return parse_mapping(text, "figures.yaml", "figures", "")


def read(file: Path | None, given: Mapping[str, Any], runs: Mapping[str, str]) -> Figures:
    """Figures from ``file``, then ``runs``, then what was ``given`` on the command line.

    Args:
        given: by key of :class:`Figures`; ``parts`` maps a part to some keys of its own.
        runs: what ``RUN@NAME`` says, by part, for teacher and student alike.

    Raises:
        UserError: anything unreadable, unknown, missing, or out of its range.
    """
    where: str | Path = "command line"
    values: dict[Any, Any] = {}
    if file is not None:
        where, values = file, read_mapping(file, "figures", "traffic: 1000000")
    elif not given.get("parts") and not runs:
        where, values = "figures.yaml", example()
    parts = values.get("parts", {})
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError("each part is a mapping of figures", where=f"{where}: parts",
                        mend="write embedder: {teacher: usd:130, student: usd:1}")  # fmt: skip
    parts = {name: dict(part) for name, part in parts.items()}
    for name, word in runs.items():
        parts[name] = {"teacher": word, "student": word} | parts.get(name, {})
    for name, part in given.get("parts", {}).items():
        parts[name] = parts.get(name, {}) | part
    plain = {key: value for key, value in given.items() if key != "parts"}
    if not parts:
        raise UserError("names no part", where=where, mend="give --run, or --teacher and --student")
    for name, part in parts.items():
        for side in ("teacher", "student"):
            if side not in part:
                raise UserError(f"part {name!r} has no {side}", where=where,
                                mend=f"say what it costs: --{side} {name}=SPEC, {_FORMS}")  # fmt: skip
    if "traffic" not in values | plain:
        raise UserError("is needed", where="--traffic", mend="say how many requests come a month")
    typed = {key: "--" + key.replace("_", "-") for key in plain}
    return checked(Figures, values | plain | {"parts": parts}, where, typed)


def case_of(figures: Figures, prices: Prices) -> Case:
    """The figures in US dollars.

    Raises:
        UserError: a word that is no figure, a name without a price, a run without throughput.
    """
    parts = {name: _part(name, part, figures, prices) for name, part in figures.parts.items()}
    together = Once(
        *(
            None if word is None else spent(word, prices, f"--{key}")
            for key, word in _words(figures).items()
        )
    )
    return Case(
        parts,
        figures.traffic,
        together,
        figures.hit_rate,
        figures.escalated,
        figures.months,
        figures.distillations,
    )


def _words(told: Figures | PartFigures) -> dict[str, str | None]:
    return {key: getattr(told, key) for key in ("capture", "training", "reindex")}


def _part(name: str, told: PartFigures, figures: Figures, prices: Prices) -> Part:
    teacher, _ = serving(told.teacher, "teacher", figures, prices, name)
    student, run = serving(told.student, "student", figures, prices, name)
    once = {
        key: None if word is None else spent(word, prices, f"{name}.{key}")
        for key, word in _words(told).items()
    }
    if run is not None:
        hourly = run.hourly
        known = run.once(hourly, figures.documents if run.component == "embedder" else None)
        once = {key: known[key] if value is None else value for key, value in once.items()}
    return Part(teacher, student, Once(**once))


def serving(
    word: str, side: Side, figures: Figures, prices: Prices, part: str
) -> tuple[Serving, Measured | None]:
    """How a part is paid for, and the run that says so, where one does."""
    where = f"{part}.{side}"
    kind, _, rest = word.partition(":")
    if kind == "usd":
        million = prices.requests.get(rest)
        if million is None:
            million = _number(rest, where, word, least=0)
        return Serving(million / 1e6, source=word), None
    if kind == "api":
        return Serving(_tokens(rest, prices, where, word), source=word), None
    if kind == "gpu":
        name, _, rate = rest.rpartition(":")
        per_second, _, tokens = rate.partition("/")
        answers = _number(per_second, where, word) / (_number(tokens, where, word) if tokens else 1)
        return _machine(prices.hour(name, where), answers, figures, word), None
    folder, at, name = word.rpartition("@")
    if not at:
        raise UserError(f"{word!r} is no figure", where=where, mend=f"write {_FORMS}")
    run = measured(Path(folder), side, prices.hour(name, where))
    answers = run.per_second / (figures.answer_tokens if run.tokens else 1)
    return _machine(run.hourly, answers, figures, f"{word} ({run.system})"), run


def _machine(hourly: float, per_second: float, figures: Figures, source: str) -> Serving:
    return on_machine(hourly, per_second, figures.utilisation, figures.least, source)


def spent(word: str, prices: Prices, where: str) -> float:
    """US dollars that are spent once: a number, ``api:NAME:TOKENS`` or ``gpu:NAME:HOURS``."""
    kind, colon, rest = word.partition(":")
    if not colon:
        return _number(word, where, word, least=0, forms=_ONCE_FORMS)
    if kind == "api":
        return _tokens(rest, prices, where, word)
    if kind == "gpu":
        name, _, hours = rest.rpartition(":")
        return prices.hour(name, where) * _number(hours, where, word, least=0, forms=_ONCE_FORMS)
    raise UserError(f"{word!r} is no figure", where=where, mend=f"write {_ONCE_FORMS}")


def _tokens(rest: str, prices: Prices, where: str, word: str) -> float:
    name, _, tokens = rest.rpartition(":")
    read, _, written = tokens.partition("+")
    api = prices.api(name, where)
    return api.usd(
        _number(read, where, word, least=0), _number(written or "0", where, word, least=0)
    )


def _number(
    text: str, where: str, word: str, *, least: float | None = None, forms: str = _FORMS
) -> float:
    """A finite number above 0, or from ``least`` on."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        bound = "above 0" if least is None else f"of {least:g} or more"
        raise UserError(
            f"{word!r}: {text!r} is no number {bound}", where=where, mend=f"write {forms}"
        )
    return value
