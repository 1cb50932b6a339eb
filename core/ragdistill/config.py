"""One typed dataclass per command; defaults < ``--config`` file < command line.

A field declared with :func:`option` is at once a key of the config file, an option of the
command line, and a line of the saved config, so that the three cannot drift apart. Types are
checked by pydantic; ranges are ``annotated_types`` in the annotation.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Gt, Le

from ragdistill.errors import UserError, nearest
from ragdistill.mappings import read_mapping

Affects = Literal["collect", "train", "evaluate", "export", "report"]
Device = Literal["auto", "cpu", "cuda", "mps"]


def option(
    help: str,
    *,
    affects: Affects,
    default: Any = dataclasses.MISSING,
    metavar: str = "",
    shown_default: str = "",
    sweep: bool = False,
) -> Any:
    """A config field: its words in ``--help`` and the first stage whose result depends on it.

    A run folder goes on with another value only where no collected signal and no trained weight
    depends on it (``evaluate`` and later). ``--sweep`` may vary an option that says so: one that
    changes how is trained, and neither the held-out text nor what its loss means.
    """
    metadata = {
        "help": help,
        "affects": affects,
        "metavar": metavar,
        "shown_default": shown_default,
        "sweep": sweep,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every component's run can be told."""

    # A YAML file says `student_layers: 3` and means the text that the command line gives.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "allow_inf_nan": False,
        "coerce_numbers_to_str": True,
    }

    teacher: str = option(
        "Model that teaches: an alias, a Hub id, a local folder.",
        affects="collect",
        metavar="MODEL",
    )
    student: str | None = option(
        "Model that learns; unless named, the teacher itself with fewer layers.",
        affects="train",
        default=None,
        metavar="MODEL",
    )
    data: str = option(
        "Text to learn from: a folder in BEIR's layout, a file of pairs, a built-in name, a Hub "
        "data-set id.",
        affects="collect",
        default="pydocs",
        metavar="DATA",
    )
    # What is measured on decides what must not be learnt from, so a run cannot change it.
    eval_data: str | None = option(
        "Judged queries to measure on; unless named, those of --data.",
        affects="collect",
        default=None,
        metavar="DATA",
    )
    method: str | None = option(
        "Distillation method (`ragdistill methods` lists them).",
        affects="collect",
        default=None,
        shown_default="the component's own",
    )
    train_items: Annotated[int, Gt(0)] | None = option(
        "Train on at most N texts, drawn with the seed.",
        affects="collect",
        default=None,
        metavar="N",
    )
    eval_queries: Annotated[int, Gt(0)] | None = option(
        "Measure on at most N queries, drawn with the seed.",
        affects="evaluate",
        default=None,
        metavar="N",
    )
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = option(
        "Seed of everything that is drawn.", affects="collect", default=0, metavar="N"
    )
    device: Device = option(  # noqa: RUF009 - a literal type, which ruff takes for mutable
        "Where models run.", affects="report", default="auto"
    )
    gate: Annotated[float, Gt(0), Le(1)] | None = option(
        "Quality to keep, as a share of the teacher's: exit 3 below it, 4 when undecided.",
        affects="report",
        default=None,
        metavar="RETENTION",
    )
    store: str | None = option(
        "Where teacher signals are kept: a folder or an fsspec address.",
        affects="report",
        default=None,
        metavar="ADDRESS",
        shown_default="signals/ under RAGDISTILL_HOME",
    )
    accept_teacher_change: bool = option(
        "Take a teacher whose weights are not those that the store knows under its name.",
        affects="report",
        default=False,
    )

    @property
    def teacher_name(self) -> str:
        """What a run folder is named after, if no name was given for it."""
        return Path(self.teacher).name


Config = TypeVar("Config", bound=RunConfig)


def resolve(cls: type[Config], file: Path | None, given: Mapping[str, Any]) -> Config:
    """Defaults, overridden by ``file`` (YAML), overridden by ``given`` (the command line).

    Raises:
        UserError: unreadable file, unknown key, missing key, wrong type or value.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if file is not None:
        for key, value in read(file, cls).items():
            values[key], places[key] = value, f"{file}: {key}"
    for key, value in given.items():
        values[key], places[key] = value, flag(key)
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING is field.default_factory
        if required and values.get(field.name) is None:
            raise UserError(
                "is needed, and is neither on the command line nor in a --config file",
                where=flag(field.name),
                mend=f"add {flag(field.name)} {field.metadata.get('metavar', '')}".rstrip(),
            )
    return _checked(cls, values, places)


def _checked(cls: type[Config], values: Mapping[str, Any], places: Mapping[str, str]) -> Config:
    """``values`` as an instance of ``cls``; the first fault as one line that names its place."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0]) if fault["loc"] else ""
        message = fault["msg"][:1].lower() + fault["msg"][1:]
        raise UserError(
            f"{values.get(key)!r} is not usable: {message}", where=places.get(key, flag(key))
        ) from error


def read(file: Path, cls: type[RunConfig]) -> dict[str, Any]:
    """The keys and values of a YAML config file; dashes and underscores are one in keys.

    Raises:
        UserError: missing or unreadable file, not a mapping, unknown key (the nearest is named).
    """
    return named(read_mapping(file), cls, file)


def named(loaded: Mapping[Any, Any], cls: type[RunConfig], where: str | Path) -> dict[str, Any]:
    """Keys and values from ``where`` by the names of fields; dashes and underscores are one in keys.

    Raises:
        UserError: unknown key (the nearest is named), or one that is given twice.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for raw, value in loaded.items():
        key = str(raw).replace("-", "_")
        key = f"{key}_" if f"{key}_" in known else key
        if key not in known:
            raise UserError(f"unknown option {str(raw)!r}{nearest(key, known)}", where=where)
        if key in values:  # with a dash and with an underscore
            raise UserError(f"{key!r} is given twice", where=where, mend="keep one of them")
        values[key] = value
    return values


def flag(name: str) -> str:
    """The command-line spelling of a field: ``train_items`` -> ``--train-items``. One that may not be
    named as it is spelt ends in an underscore: ``lambda_`` -> ``--lambda``."""
    return "--" + name.rstrip("_").replace("_", "-")


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The config as plain JSON values, in field order; tuples become lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def to_yaml(config: RunConfig) -> str:
    """The resolved config as a file that ``--config`` takes back."""
    import yaml

    text: str = yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)
    return text


def affects(cls: type[RunConfig], key: str) -> Affects:
    """The first stage whose result depends on ``key``."""
    field = {item.name: item for item in dataclasses.fields(cls)}[key]
    chosen: Affects = field.metadata.get("affects", "collect")
    return chosen
