"""How a language model is asked to rewrite, and what of its reply is the rewrite."""

from collections.abc import Sequence

from ragdistill.data.collection import Query
from ragdistill.files import sha256_json
from ragdistill.writing import Messages, Written

_SYSTEM = (
    "Rewrite the last question of a conversation so that it can be understood without the conversation: put "
    "names and things in place of pronouns, and add what it leaves out. Do not answer it. Reply with the "
    "question only."
)
_SHOTS: Sequence[tuple[Sequence[str], str, str]] = (
    (
        ("Who built the Eiffel Tower?", "The company of Gustave Eiffel."),
        "When did he start?",
        "When did Gustave Eiffel start to build the Eiffel Tower?",
    ),
    (
        ("What is the capital of Peru?", "Lima."),
        "How many people live there?",
        "How many people live in Lima, Peru?",
    ),
    ((), "Which river flows through Bonn?", "Which river flows through Bonn?"),
)
_MOST = 12
"""Turns before the last question that are shown: the latest."""


def messages(query: Query) -> Messages:
    """``query`` after its conversation, behind three examples."""
    told = [{"role": "system", "content": _SYSTEM}]
    for turns, asked, rewrite in _SHOTS:
        told.append({"role": "user", "content": _shown(turns, asked)})
        told.append({"role": "assistant", "content": rewrite})
    return [*told, {"role": "user", "content": _shown(query.context_turns[-_MOST:], query.text)}]


def template() -> str:
    """Digest of what is put around a turn: replies to another one are other replies."""
    return sha256_json(messages(Query("", "\0question\0", context_turns=("\0turn\0",))))


def _shown(turns: Sequence[str], asked: str) -> str:
    before = "\n".join(turns) or "(nothing)"
    return f"Conversation:\n{before}\n\nLast question: {asked}\nRewritten:"


def rewrite_of(query: Query, reply: Written) -> str | None:
    """The rewrite in ``reply``: its first line. None where it is no whole one, or says nothing."""
    if reply.fault is not None:
        return None
    line = next((line.strip() for line in reply.text.splitlines() if line.strip()), "")
    return line.strip('"').strip() or None
