"""How an endpoint is asked to write, and what it answers, checked before anybody believes it:
``POST /chat/completions``, as https://platform.openai.com/docs/api-reference/chat has it, and vLLM,
llama.cpp, Ollama and gateways.

::

    {"model": ..., "messages": [{"role": ..., "content": ...}, ...], "temperature": ..., "max_tokens": ...}
    -> {"model": ..., "choices": [{"message": {"content": ...}, "finish_reason": ...}],
        "usage": {"prompt_tokens": ..., "completion_tokens": ..., "total_tokens": ...}}
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from ragdistill.endpoint.address import Address, Service
from ragdistill.endpoint.asking import Request, estimate, requests
from ragdistill.endpoint.client import LEAST_BYTES, Question
from ragdistill.endpoint.reply import Content, Reply, Unusable, read
from ragdistill.signals.fingerprint import Parameter
from ragdistill.writing import Ending, Messages, Written

CHAT = Service(
    "openai:",
    "/chat/completions",
    model="gpt-4o-mini",
    url="https://api.openai.com/v1",
    task="chat",
)
TOO_MUCH = (
    "if it is too long for the model, give less context with each question, or have it write less"
)
EMPTY_TRIES = 3
"""How often a request is sent that is answered with nothing: a server that is starting up does so, and
so does a model that has nothing to say."""
_TOKEN_BYTES = 64
"""Allowed of a token that is written, in an answer: its bytes in JSON, and its probability beside it."""
_OWN = ("openai.com", "azure.com")
"""Whose newer models refuse ``max_tokens`` and know ``max_completion_tokens``, which many servers do not."""
_CUT = frozenset(["length", "max_tokens", "model_length"])
_REFUSED = frozenset(["content_filter", "refusal", "safety"])
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is to write; all of it is part of what its replies are stored under."""

    template: str = ""
    """Digest of what requests are made by: with another one they are other requests."""
    temperature: float | None = 0.0
    """None leaves it to the model: some refuse any but their own."""
    max_tokens: int = 256
    """Tokens after which a reply is cut off."""
    seed: int | None = None
    """Of what is drawn, for servers that know of it."""
    stop: tuple[str, ...] = ()
    """What ends a reply, and is left out of it."""

    def wish(self, at: Address) -> dict[str, Any]:
        """Them as an endpoint is told."""
        host = urlsplit(at.url).hostname or ""
        own = any(host == name or host.endswith(f".{name}") for name in _OWN)
        told = {
            "max_completion_tokens" if own else "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stop": list(self.stop) or None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def parameters(self) -> dict[str, Parameter]:
        """Them as a fingerprint has them."""
        return {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": json.dumps(self.stop),
        }


@dataclass(frozen=True, slots=True)
class Said:
    """What an endpoint answers to one request."""

    written: Written
    model: str
    """What it calls the model that wrote: often more exactly than it was asked for, as with a date; empty
    where it does not say."""


def conversations(wanted: Sequence[Messages], settings: Settings) -> Iterator[Request]:
    """One request for each. What is billed has no more tokens than the JSON has bytes: a template's own
    words fit where JSON has its signs."""
    told = [_writable(json.dumps([*map(dict, item)], ensure_ascii=False)) for item in wanted]
    return requests(told, [estimate(text) for text in told], 1, writes=settings.max_tokens)


def put(
    request: Request, settings: Settings, at: Address, check: Callable[[Said], None]
) -> Question[Said]:
    """The question for the reply to a request of :func:`conversations`."""
    (told,) = request.texts
    tries = count(1)
    return Question(
        wish={"messages": json.loads(told), **settings.wish(at)},
        ask=request.ask,
        read=lambda body: parse(body, settings.max_tokens, last=next(tries) >= EMPTY_TRIES),
        check=check,
        most_bytes=LEAST_BYTES + _TOKEN_BYTES * settings.max_tokens,
        declined=Said(Written("", "refused"), ""),
    )


def parse(body: bytes, max_tokens: int, *, last: bool = True) -> Reply[Said]:
    """The reply, with how it ended; ``last``: whether one that says nothing is taken for what the model
    has to say.

    Raises:
        Unusable: no JSON, not one reply, or nothing said before it is the ``last`` try.
    """

    def find(content: Content) -> Said:
        choice = _only(content.get("choices"))
        message = choice.get("message")
        if not isinstance(message, dict):
            raise Unusable("a reply holds no message")
        text = _text(message.get("content"))
        ended = "refused" if message.get("refusal") else _ended(choice, content, max_tokens)
        if ended == "stop" and not text.strip() and not last:
            raise Unusable("it says nothing")
        model = content.get("model")
        return Said(Written(text, ended), model if isinstance(model, str) else "")

    return read(body, find)


def _only(choices: Any) -> Content:
    if not isinstance(choices, list) or not all(isinstance(item, dict) for item in choices):
        raise Unusable("it holds no list of replies")
    if len(choices) != 1:
        raise Unusable(f"it holds {len(choices)} of 1 replies")
    choice: Content = choices[0]
    return choice


def _text(content: Any) -> str:
    """What a message says: a text, or several parts of one; nothing where a model refuses."""
    if content is None:
        return ""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if not all(isinstance(part, dict) for part in parts):
        raise Unusable("a reply is no text")
    # What is no text was thought or shown, and not said.
    said: list[Any] = [part.get("text") for part in parts if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in said):
        raise Unusable("a reply is no text")
    return _writable("".join(said))


def _ended(choice: Content, content: Content, max_tokens: int) -> Ending:
    """By ``finish_reason``; where that is missing, by the tokens that were written."""
    reason = str(choice.get("finish_reason") or "")
    if reason in _REFUSED:
        return "refused"
    usage = content.get("usage")
    told = usage.get("completion_tokens") if isinstance(usage, dict) else None
    full = type(told) is int and told >= max_tokens
    return "length" if reason in _CUT or (not reason and full) else "stop"


def _writable(text: str) -> str:
    """It in what UTF-8 can write: half a sign, where a text was cut within one, is none."""
    return _LONE.sub("\N{REPLACEMENT CHARACTER}", text)
