"""Questions that a language model writes for documents, kept if the first stage finds the document.

A document is put to the teacher with the request for a question that it answers (Nogueira and Lin, "From
doc2query to docTTTTTquery", 2019), and the likeliest words are taken. What does not lead back to its
document is left out (round-trip consistency, Alberti et al., arXiv:1906.05416). Replies are teacher
signal and kept in the store, so that none is written twice.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from ragdistill.causal import as_request, text_ids, token_ids, write
from ragdistill.data.collection import Document
from ragdistill.first_stage import FirstStage
from ragdistill.progress import track
from ragdistill.signals.fingerprint import Fingerprint, text_key
from ragdistill.signals.store import Space
from ragdistill_reranker.language_model import DOCUMENT_TOKENS, LanguageModel
from ragdistill_reranker.questions import Question, asks
from ragdistill_reranker.scoring import Forecast, forecast

NEW_TOKENS = 32
"""Tokens after which a reply is cut."""
BATCH = 16
"""Documents that are read at once; what was replied is stored after each batch."""
TURNS = 4
"""Documents that have their turn for one question that is wanted, at most."""
_DOCUMENT = "\x00document\x00"
_ASKED = f"Passage: {_DOCUMENT}\n\nWrite a short question that this passage answers."
_WRAPPING = " \t\"'“”«»*`"


def fingerprint(teacher: LanguageModel) -> Fingerprint:
    """What identifies the questions of ``teacher``."""
    return Fingerprint(
        kind="text",
        weights=teacher.digest,
        tokenizer=teacher.model.tokenizer_digest,
        prompt=_ASKED,
        dtype="utf8",
        parameters={
            "chat": bool(teacher.tokenizer.chat_template),
            "document_tokens": DOCUMENT_TOKENS,
            "new_tokens": NEW_TOKENS,
            "precision": teacher.precision,
        },
    )


class QuestionWriter:
    """A teacher that writes questions."""

    def __init__(self, teacher: LanguageModel, space: Space) -> None:
        """``space``: of :func:`fingerprint`."""
        self.teacher, self._space = teacher, space

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of ``texts`` that no reply is stored of, each once."""
        return [texts[place] for place in self._space.missing([text_key(text) for text in texts])]

    def replies(self, texts: Sequence[str]) -> list[str]:
        """The reply to each document, written now or before."""
        asked = self.missing(texts)
        if asked:
            with self._space.writer() as writer:
                for start in range(0, len(asked), BATCH):
                    part = asked[start : start + BATCH]
                    writer.append([text_key(text) for text in part], self._written(part))
        return list(self._space.get([text_key(text) for text in texts]))

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """What stands before and behind a document, as token ids."""
        tokenizer = self.teacher.tokenizer
        before, behind = as_request(tokenizer, _ASKED).split(_DOCUMENT)
        return token_ids(tokenizer, before), token_ids(tokenizer, behind)

    def _prompt(self, text: str) -> list[int]:
        before, behind = self._around
        return [*before, *text_ids(self.teacher.tokenizer, text)[:DOCUMENT_TOKENS], *behind]

    def _written(self, texts: Sequence[str]) -> list[str]:
        """Greedily, ``[b]`` documents at once: padded on the left, each reply is that of its document
        alone."""
        network, tokenizer = self.teacher.network, self.teacher.tokenizer
        replies = write(network, tokenizer, [self._prompt(text) for text in texts], NEW_TOKENS)
        said: list[str] = tokenizer.batch_decode(replies, skip_special_tokens=True)
        return said

    def forecast(self, texts: Sequence[str]) -> Forecast:
        """What writing of those of ``texts`` would take that are not stored, by one batch of them."""
        asked = self.missing(texts)
        batches = -(-len(asked) // BATCH)
        spread = [asked[start::batches] for start in range(batches)]
        return forecast(spread, self._tokens, self._written, probes=1)

    def _tokens(self, texts: Sequence[str]) -> int:
        return sum(len(self._prompt(text)) + NEW_TOKENS for text in texts)


def cleaned(reply: str) -> str | None:
    """The question in ``reply``: what its first line says, without a label, up to the question mark;
    None where there is none."""
    line = next((line.strip(_WRAPPING) for line in reply.splitlines() if line.strip(_WRAPPING)), "")
    label, colon, rest = line.partition(":")
    if colon and label.strip(_WRAPPING).casefold() in ("question", "q"):
        line = rest
    asked, mark, _ = line.partition("?")
    question = f"{asked.strip(_WRAPPING)}?"
    return question if mark and asks(question) else None


class Generated:
    """Asks of documents what a teacher writes for them; see :data:`ragdistill_reranker.questions.Ask`."""

    def __init__(
        self,
        writer: QuestionWriter,
        documents: Sequence[Document],
        stage: FirstStage,
        depth: int,
    ) -> None:
        """``depth``: among how many candidates of ``stage`` the document must be."""
        self._writer, self._documents = writer, documents
        self._stage, self._depth = stage, depth
        self.met = 0
        """Documents that have had their turn."""

    def __call__(self, places: Iterable[int], wanted: int) -> Iterator[Question]:
        """Questions of the documents in ``places``, written as they are taken; a teacher whose questions
        lead nowhere is not asked about more than :data:`TURNS` times as many documents."""
        turns, made = islice(places, max(BATCH, TURNS * wanted)), 0
        with track("questions", wanted) as advance:
            # As many as are wanted; in place of those that are left out, others.
            while part := list(islice(turns, max(BATCH, wanted - made))):
                for place, text in zip(part, self._asked(part), strict=True):
                    self.met += 1
                    if text is not None:
                        made += 1
                        advance(1, 0)
                        yield Question(text, (place,), generated=True)

    def _asked(self, places: Sequence[int]) -> list[str | None]:
        """The question of each document; None where that does not lead back to it."""
        replies = self._writer.replies([self._documents[place].content for place in places])
        asked = [cleaned(reply) for reply in replies]
        found = self._stage.find([text or "" for text in asked], self._depth).places
        return [
            text if place in row.tolist() else None
            for place, text, row in zip(places, asked, found, strict=True)
        ]
