"""A real HTTP server on this machine that writes replies nobody can guess, and fails when told to."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from endpoint_helpers import MODEL, Served, listening

Choice = dict[str, Any]


def words(content: str, *, seed: int = 0) -> str:
    """What is said of a message: of the first words, what a whole message would say, too."""
    made = hashlib.sha256(f"{seed} {content}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{made[:6]} é says {made[6:12]}"


def said(text: str | None, reason: str | None = "stop", **more: Any) -> Choice:
    """One of ``choices``."""
    message = {"role": "assistant", "content": text, "refusal": None, **more}
    return {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}


def reply(content: str) -> Choice:
    """Whole."""
    return said(words(content))


@dataclass(kw_only=True)
class Chat(Served):
    """Writes."""

    reply: Callable[[str], Choice] = reply
    """To the last message."""
    written: int = 0
    """Tokens that it billed of what it wrote."""
    called: str = MODEL
    """What it calls the model."""
    _told: threading.local = field(default_factory=threading.local)
    route: ClassVar[str] = "/chat/completions"

    def asked(self, wish: dict[str, Any]) -> list[Any]:
        return [wish["messages"][-1]["content"]]

    def reads(self, content: str) -> int:
        """Tokens of a message."""
        return len(content.split()) + 8

    def writes(self, content: str) -> int:
        """Tokens of the reply to it."""
        return len((self.reply(content)["message"]["content"] or "").split()) + 1

    def count(self, asked: list[Any]) -> int:
        return sum(map(self.reads, asked)) + sum(map(self.writes, asked))

    def tokens(self, asked: list[Any]) -> int:
        written = self._told.written = round(self.bills * sum(map(self.writes, asked)))
        self.written += written  # under the lock
        return sum(map(self.reads, asked)) + written

    def rows(self, asked: list[Any], fault: str | None) -> list[dict[str, Any]]:
        if fault == "empty":
            return [said("")]
        if fault == "shape":
            return [{"index": 0, "text": "of another interface"}]
        return [self.reply(item) for item in asked]

    def content(self, rows: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        content = {"object": "chat.completion", "model": self.called, "choices": rows}
        if self.counts:
            content["usage"] = {
                "prompt_tokens": tokens - self._told.written,
                "completion_tokens": self._told.written,
                "total_tokens": tokens,
            }
        return content


@contextmanager
def chatting(**options: Any) -> Iterator[Chat]:
    """A language model for as long as the block lasts."""
    served = Chat(**options)
    with listening(served):
        yield served


def asked(count: int) -> list[list[dict[str, str]]]:
    """So many different requests."""
    system = {"role": "system", "content": "Answer from the context only."}
    return [
        [system, {"role": "user", "content": f"what is {number}? In context {number % 7} é\n"}]
        for number in range(count)
    ]
