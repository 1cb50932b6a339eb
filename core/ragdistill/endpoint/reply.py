"""What an endpoint answers, checked before anybody believes it: what all kinds of answers share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

_MOST_TOKENS = 1_000_000_000
"""No request has more; a larger figure is no count."""

Content = Mapping[str, Any]
Found = TypeVar("Found")


class Unusable(Exception):
    """An answer that cannot be used; another try may bring a better one."""

    def __init__(self, reason: str, tokens: int | None = None, written: int | None = None) -> None:
        super().__init__(reason)
        self.tokens = tokens
        """What it says to have billed for it all the same."""
        self.written = written
        """See ``Reply``."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[Found]):
    """A whole answer."""

    found: Found
    tokens: int | None
    """What the endpoint says to have billed; None where it does not say."""
    written: int | None = None
    """How many of these it has written; None where it does not say."""


def usage(content: Content) -> int | None:
    """``usage.total_tokens``, or ``usage.prompt_tokens``."""
    return count(content.get("usage"), "total_tokens", "prompt_tokens")


def count(told: Any, *names: str) -> int | None:
    """The tokens that ``told`` has under the first of ``names`` that it has at all; None where that is
    no count. Some servers always say 0, which no text costs."""
    if not isinstance(told, Mapping):
        return None
    found = next((told[name] for name in names if name in told), None)
    return found if type(found) is int and 0 < found <= _MOST_TOKENS else None


def read(
    body: bytes,
    find: Callable[[Content], Found],
    billed: Callable[[Content], int | None] = usage,
) -> Reply[Found]:
    """What ``find`` makes of a JSON object, and the tokens that were ``billed`` for it.

    Raises:
        Unusable: no JSON object, or ``find`` says so.
    """
    try:
        content = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"it is not whole JSON ({len(body):,} bytes)") from error
    if not isinstance(content, dict):
        raise Unusable("it is no JSON object")
    tokens, written = billed(content), count(content.get("usage"), "completion_tokens")
    try:
        return Reply(find(content), tokens, written)
    except Unusable as error:
        raise Unusable(str(error), tokens, written) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def by_index(items: Any, wanted: int, what: str) -> list[Content]:
    """As many ``items`` as are ``wanted``, put in order by their ``index``; ``what`` they are called.

    Raises:
        Unusable: they are no such list.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Unusable(f"it holds no list of {what}")
    if len(items) != wanted:
        raise Unusable(f"it holds {len(items)} of {wanted} {what}")
    found = {item["index"]: item for item in items if type(item.get("index")) is int}
    if found.keys() != set(range(wanted)):
        raise Unusable("an index is missing, or there twice")
    return [found[place] for place in range(wanted)]
