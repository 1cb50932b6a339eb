"""What the generator's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from ragdistill import causal, writing
from ragdistill.encoder import pick_device
from ragdistill.endpoint.chat import CHAT, Settings
from ragdistill.endpoint.writer import EndpointWriter
from ragdistill.errors import UserError
from ragdistill.files import sha256_file, sha256_json
from ragdistill.local_writer import LocalWriter
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.store import SignalStore, Space
from ragdistill.training.pruning import choose_layers
from ragdistill.writing import Messages, Written
from ragdistill_generator import contexts
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.mentored import Mentored
from ragdistill_generator.policy_options import ASKED, OWN, TutorName
from ragdistill_generator.prompts import Prompter

WINDOW = 2048
"""Tokens of a question, its contexts and its answer, where that is not said."""


class Setup(Mentored):
    """Models, data and stored signals of one run."""

    prompts: ClassVar[type[Prompter]] = Prompter
    unknown: ClassVar[tuple[str, str]] = (
        "no question that is learnt from has an answer",
        "add `answers` to queries.jsonl, or learn the teacher's: --method sequence",
    )
    """What is said where the data's own answers are to be learnt and there are none."""

    def __init__(
        self,
        config: GeneratorConfig,
        folder: Path | None = None,
        *,
        told: bool,
        own: Literal["gold", "teacher"] | None,
        tutor: TutorName = "stored",
    ) -> None:
        """
        Args:
            folder: of the run.
            told: whether distributions are learnt.
            own: whose answers the method learns; None leaves it to ``--answers``.
            tutor: whose distributions.
        """
        super().__init__(config, folder)
        self.tutor, self._told, self._own = tutor, told, own

    @property
    def told(self) -> bool:
        """Whether any of the teacher's distributions are learnt."""
        return self._told and (self.tutor not in OWN or self.context_weight > 0)

    @property
    def stores(self) -> bool:
        """Whether they are, from the store."""
        return self.told and self.tutor not in ASKED

    @property
    def served(self) -> bool:
        """Whether the teacher is behind an endpoint."""
        return self.config.teacher.startswith(CHAT.prefix)

    @cached_property
    def model(self) -> ResolvedModel:
        """The teacher's files; of one that is here."""
        found = resolve(self.config.teacher, kind="causal-lm")
        causal.check(found, "--teacher")
        return found

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of.

        Raises:
            UserError: none is named, and the teacher's are not here; or it would be the teacher itself.
        """
        config = self.config
        if config.student is None and self.served:
            raise UserError(
                "the teacher's weights are not here, so the student cannot be made of them",
                where="--student",
                mend="name a language model, as SmolLM2-135M-Instruct",
            )
        if config.student is None:
            return self.model
        found = resolve(config.student, kind="causal-lm")
        causal.check(found, "--student")
        return found

    @cached_property
    def layers(self) -> str | None:
        """How many layers the student keeps, or which; None for all of them.

        Raises:
            UserError: it has none of that number.
        """
        given = self.config.student_layers
        if given is not None:
            choose_layers(given, causal.depth(self.base))
            return given
        if not self.itself or self.config.lora is not None:
            return None
        return str(max(1, causal.depth(self.base) // 2))

    @property
    def itself(self) -> bool:
        """Whether the student is made of the teacher."""
        return not self.served and self.base.weights_digest == self.model.weights_digest

    @property
    def context_weight(self) -> float:
        """What the contexts' tokens weigh; 0 where nothing is stored of them."""
        if not self._told or not self.alike:
            return 0.0
        given = self.config.context_weight
        return (1.0 if self.layers is not None else 0.0) if given is None else given

    @cached_property
    def network(self) -> Any:
        """The teacher, loaded; of one that is here."""
        return causal.load(self.model, pick_device(self.config.device), self.precision)

    @property
    def precision(self) -> causal.Precision:
        """In what it computes."""
        return self.config.precision or causal.usual_precision(pick_device(self.config.device))

    @cached_property
    def tokenizer(self) -> Any:
        """The student's."""
        return causal.load_tokenizer(self.base)

    @cached_property
    def prompter(self) -> Prompter:
        """How questions are put to the student."""
        return self.prompter_of(self.tokenizer)

    def prompter_of(self, tokenizer: Any) -> Prompter:
        """How questions are put to a model of that tokenizer.

        Raises:
            UserError: answers leave no room for them.
        """
        config = self.config
        known = [WINDOW, int(tokenizer.model_max_length)]
        window = config.window or min(known)
        if window <= self.new_tokens:
            raise UserError(
                f"answers of {self.new_tokens} tokens leave nothing of a window of {window}",
                where="--window",
                mend="raise it, or have less written (--answer-tokens)",
            )
        return self.prompts(tokenizer, window, self.new_tokens, config.style)

    @property
    def new_tokens(self) -> int:
        """Tokens after which a reply is cut."""
        return self.config.answer_tokens

    def final(self, reply: str) -> str:
        """The answer in what was written."""
        return reply.strip()

    def known(self, case: Case) -> str | None:
        """What is to be written where a right answer is known, whole; None where it is not."""
        return case.references[0] if case.references else None

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

    @cached_property
    def gold(self) -> bool:
        """Whether the data's own answers are learnt.

        Raises:
            UserError: they are to be, and there are none.
        """
        wanted = self._own or self.config.answers
        any_known = any(self.known(case) for case in self.train_cases)
        if wanted == "gold" and not any_known:
            raise UserError(self.unknown[0], where=self.config.data, mend=self.unknown[1])
        return wanted != "teacher" and any_known

    def requests(self, asked: Sequence[Case]) -> list[Messages]:
        """What the teacher is asked."""
        return [self.teacher_prompter.messages(case) for case in asked]

    @cached_property
    def asked(self) -> list[Messages]:
        """All that it has to answer: what is measured on, and what is learnt from its answers."""
        return self.requests([*self.eval_cases, *([] if self.gold else self.train_cases)])

    @cached_property
    def texts(self) -> Space:
        """Where its answers are stored."""
        return self.space(self.writer.fingerprint())

    @property
    def known_as(self) -> str:
        """What the store knows the teacher by."""
        return self.writer.known_as

    def space(self, kept: Fingerprint) -> Space:
        """Where what has this fingerprint is stored."""
        store = SignalStore(self.config.store or default_address())
        change = self.config.accept_teacher_change
        return store.space(kept, teacher=self.writer.known_as, accept_change=change)

    def meet(self) -> None:
        """Let the teacher show who it is, before anything is asked that is to be stored."""
        self.writer.meet(partial(lambda: bool(writing.unwritten(self.asked, self.texts))))
        vars(self).pop("texts", None)

    def answers(self, asked: Sequence[Case]) -> list[Written]:
        """What the teacher answered."""
        return writing.stored(self.texts, self.requests(asked))

    @cached_property
    def train_pairs(self) -> list[tuple[Case, str]]:
        """What is learnt from, each with the answer that is learnt: an answer that is cut off or empty
        is none.

        Raises:
            UserError: none is left.
        """
        if self.gold:
            found = [(case, best) for case in self.train_cases if (best := self.known(case))]
        else:
            told = zip(self.train_cases, self.answers(self.train_cases), strict=True)
            found = [(case, said.text.strip()) for case, said in told if said.fault is None]
        if not found:
            raise UserError(
                "the teacher gave no whole answer to any question that is learnt from",
                where="--teacher",
                mend="raise --answer-tokens, or choose another teacher",
            )
        return found

    @property
    def left_out(self) -> dict[str, int]:
        """How many of the teacher's answers are not learnt, by what is wrong with them."""
        return {} if self.gold else writing.faults(self.answers(self.train_cases))

    def as_lesson(self, pairs: Iterable[tuple[Case, str]]) -> Lesson:
        """Cases with answers as the student's tokens; empty answers are left out."""
        return self.ours.lesson(pairs)

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        known = self.tokenizer.eos_token_id
        if self.itself:
            return causal.ending_ids(self.network, self.tokenizer)
        return [] if known is None else [known]

    def collect(self) -> dict[str, Any]:
        """Have written and told what is not stored yet."""
        wrote = writing.collect(self.writer, self.asked, self.texts)
        items, tokens = wrote.replies, wrote.tokens
        if self.stores:
            told = self.teller.collect(
                self.told_lesson, self.context_weight > 0, self.distributions
            )
            items, tokens = items + told.records, tokens + told.tokens
            _ = self.alike or self.coverage  # too little is refused before anything is trained
        return {"items": items, "tokens": tokens}

    @property
    def full_lesson(self) -> Lesson:
        """The lesson with what the teacher said of it, if that is learnt."""
        return self.taught_lesson if self.stores else self.lesson

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what the run stands on."""
        student = self.base.weights_digest
        others = {}
        if self.config.via:
            others["via"] = self.mentor_base.weights_digest
        if self.mix is not None:
            others["mix"] = self.mix.collection.digest
        if self.teacher_prompter is not self.prompter:
            others["teacher_template"] = sha256_json(self.teacher_prompter.template)
        if (ranked := contexts.file(self.config.contexts_from)) is not None:
            others["contexts"] = sha256_file(ranked)
        return others | {
            "teacher": self.writer.digest,
            "student": student,
            "data": self.collection.digest,
            "eval_data": self.eval_collection.digest,
            "template": sha256_json(self.prompter.template),
        }
