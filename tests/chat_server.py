"""A real HTTP server on this machine that answers as OpenAI's chat API does, by an exported model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import AutoTokenizer

from endpoint_helpers import MODEL, Served, listening
from ragdistill import causal
from ragdistill.export.causal.forms import load
from ragdistill.export.causal.runner import Runner


@dataclass
class Chat(Served):
    """Answers one chat at a time, greedily."""

    writer: Runner
    tokenizer: Any
    new_tokens: int = 16
    route: ClassVar[str] = "/chat/completions"

    def asked(self, wish: dict[str, Any]) -> list[Any]:
        self.new_tokens = wish.get("max_tokens", self.new_tokens)
        return [causal.as_chat(self.tokenizer, wish["messages"])]

    def count(self, asked: list[Any]) -> int:
        return sum(len(causal.token_ids(self.tokenizer, text)) for text in asked)

    def rows(self, asked: list[Any], fault: str | None) -> list[dict[str, Any]]:
        prompts = [causal.token_ids(self.tokenizer, text) for text in asked]
        replies = self.writer.generate(prompts, self.new_tokens)
        return [
            {
                "index": place,
                "message": {"role": "assistant", "content": self.read(reply)},
                "finish_reason": "length" if len(reply) == self.new_tokens else "stop",
            }
            for place, reply in enumerate(replies)
        ]

    def read(self, reply: list[int]) -> str:
        said: str = self.tokenizer.decode(reply, skip_special_tokens=True)
        return said

    def content(self, rows: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return {"object": "chat.completion", "model": MODEL, "choices": rows, "usage": usage}


@contextmanager
def chatting(folder: Path, **options: Any) -> Iterator[Chat]:
    """An endpoint that answers with the exported model in ``folder``, for as long as the block lasts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    endpoint = Chat(load(folder, threads=1), tokenizer, **options)
    with listening(endpoint):
        yield endpoint
