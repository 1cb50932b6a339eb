"""Where an endpoint is, and the key it wants: told such that nothing secret is ever written down."""

import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ragdistill.errors import UserError

_PORTS = {"http": 80, "https": 443}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[!-~]+")  # what an HTTP header may hold


@dataclass(frozen=True, slots=True)
class Service:
    """What endpoints of one kind are asked for."""

    prefix: str
    """What goes before a model's name, as ``openai:``."""
    route: str
    """Where below its address one is asked, as ``/embeddings``."""
    model: str
    """For instance."""
    url: str
    """For instance."""
    task: str = ""
    """Told apart from what else may be at one address under one name."""


@dataclass(frozen=True, slots=True)
class Address:
    """A model at an endpoint."""

    url: str
    """Normalised: two ways of writing one address are one address."""
    model: str
    service: Service

    @property
    def target(self) -> str:
        """Where it is asked."""
        return f"{self.url}{self.service.route}"

    @property
    def name(self) -> str:
        """It as a person names it."""
        return f"{self.service.prefix}{self.model}"


def parse(service: Service, teacher: str, url: str | None) -> Address:
    """The ``teacher``, such as ``openai:NAME``, at ``url``, which may end in the service's route or not.

    Raises:
        UserError: no name, no address, or one that is no plain http(s) address.
    """
    model = teacher.removeprefix(service.prefix)
    if not model:
        raise UserError(
            f"{teacher!r} names no model",
            where="--teacher",
            mend=f"name one, as {service.prefix}{service.model}",
        )
    if not url:
        raise UserError(
            f"is needed for the teacher {teacher}",
            where="--teacher-url",
            mend=f"give the endpoint's address, as {service.url}",
        )
    return Address(_normalised(url, service.route), model, service)


def _normalised(url: str, route: str) -> str:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise _malformed() from error
    # Options are kept in run.json and shown in reports: what may be a secret is never told again.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            "an address with credentials or a query in it would be written down",
            where="--teacher-url",
            mend="leave them out, and put the key into the environment (--teacher-key-env)",
        )
    if parts.scheme not in _PORTS or not parts.hostname or re.search(r"\s", parts.netloc):
        raise _malformed()
    path = parts.path.rstrip("/").removesuffix(route)
    return f"{parts.scheme}://{_host(parts, port)}{path}"


def _host(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return shown if port in (None, _PORTS[parts.scheme]) else f"{shown}:{port}"


def _malformed() -> UserError:
    return UserError(
        "is no address of an endpoint",
        where="--teacher-url",
        mend="give one as http://host:port/v1 or https://host/v1",
    )


def key(variable: str, *, default: str) -> str | None:
    """The key in the environment variable of that name; None where the ``default`` one is not set,
    for many servers want none.

    Raises:
        UserError: no such variable is set, or it holds no key. What was given is not shown: it may
            be the key itself.
    """
    found = os.environ.get(variable, "").strip() if _VARIABLE.fullmatch(variable) else ""
    if not found:
        if variable == default:
            return None
        raise UserError(
            "names no environment variable that is set",
            where="--teacher-key-env",
            mend="give the name of the variable that holds the key, never the key itself",
        )
    if not _KEY.fullmatch(found):
        raise UserError(
            "the environment variable holds characters that no key has",
            where="--teacher-key-env",
            mend="set it to the key alone",
        )
    return found
