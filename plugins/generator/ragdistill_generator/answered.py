"""What the teacher answers: who writes, what is asked of it, and where its answers are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ragdistill import writing
from ragdistill.encoder import pick_device
from ragdistill.endpoint.chat import CHAT, Settings
from ragdistill.endpoint.writer import EndpointWriter
from ragdistill.files import sha256_json
from ragdistill.local_writer import LocalWriter
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.store import SignalStore, Space
from ragdistill.writing import Messages, Written
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.mentored import Mentored


class Answered(Mentored, ABC):
    """The teacher as one that writes."""

    def __init__(self, config: GeneratorConfig, folder: Path | None = None) -> None:
        super().__init__(config, folder)
        self._spaces: dict[str, Space] = {}

    @property
    @abstractmethod
    def gold(self) -> bool:
        """Whether the data's own answers are learnt."""

    @cached_property
    def writer(self) -> writing.Writer:
        """The teacher as one that writes."""
        config = self.config
        asked = self.teacher_prompter.template
        template = sha256_json(asked) if self.served else asked
        if not self.served:
            config.refuse_endpoint_options(CHAT.prefix)
            found = LocalWriter(
                self.model,
                pick_device(config.device),
                self.precision,
                template=template,
                new_tokens=self.new_tokens,
                temperature=config.sampling,
                seed=config.seed,
            )
            # Loaded once, for what it writes and for what it says of tokens.
            vars(found)["network"] = self.network
            return found
        return EndpointWriter(
            config.teacher,
            config.teacher_url,
            Settings(template, temperature=config.sampling, max_tokens=self.new_tokens),
            key_env=config.teacher_key_env,
            price=config.teacher_price,
            budget=config.teacher_budget,
            concurrency=config.teacher_concurrency,
            timeout=config.teacher_timeout,
            store=config.store,
            accept_change=config.accept_teacher_change,
        )

    @property
    def measured(self) -> writing.Writer:
        """The teacher as it is measured: by its likeliest words, as the student is."""
        return self.writer.likeliest() if self.config.sampling else self.writer

    def requests(self, asked: Sequence[Case]) -> list[Messages]:
        """What the teacher is asked."""
        return [self.teacher_prompter.messages(case) for case in asked]

    @cached_property
    def _requests(self) -> tuple[list[Messages], list[Messages]]:
        """What is asked to measure, and to learn from."""
        learnt = [] if self.gold else self.requests(self.train_cases)
        return self.requests(self.eval_cases), learnt

    @property
    def asked(self) -> list[tuple[writing.Writer, list[Messages]]]:
        """All that it has to answer: what is measured on, and what is learnt from its answers."""
        measured, learnt = self._requests
        if not self.config.sampling:
            return [(self.writer, [*measured, *learnt])]
        return [(self.measured, measured), *([(self.writer, learnt)] if learnt else [])]

    @cached_property
    def texts(self) -> Space:
        """Where its answers are stored that are learnt from."""
        return self.space(self.writer.fingerprint())

    def unwritten(self) -> list[tuple[writing.Writer, list[Messages], Space]]:
        """What of all that is asked no answer is stored of, by who writes it, and where that is stored."""
        found = []
        for writer, requests in self.asked:
            space = self.space(writer.fingerprint())
            found.append((writer, writing.unwritten(requests, space), space))
        return found

    @property
    def known_as(self) -> str:
        """What the store knows the teacher by."""
        return self.writer.known_as

    def space(self, kept: Fingerprint) -> Space:
        """Where what has this fingerprint is stored, opened once."""
        if kept.id not in self._spaces:
            store = SignalStore(self.config.store or default_address())
            change = self.config.accept_teacher_change
            opened = store.space(kept, teacher=self.writer.known_as, accept_change=change)
            self._spaces[kept.id] = opened
        return self._spaces[kept.id]

    def meet(self) -> None:
        """Let the teacher show who it is, before anything is asked that is to be stored."""
        self.writer.meet(lambda: any(left for _, left, _ in self.unwritten()))
        self._spaces.clear()
        vars(self).pop("texts", None)

    def answers(self, asked: Sequence[Case]) -> list[Written]:
        """What the teacher answered of what is learnt from."""
        return writing.stored(self.texts, self.requests(asked))

    @property
    def measured_answers(self) -> list[Written]:
        """What it answered of what is measured on."""
        space = self.space(self.measured.fingerprint())
        return writing.stored(space, self._requests[0])
