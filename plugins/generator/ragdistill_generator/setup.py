"""What the generator's stages stand on: each thing is read once, and only when it is needed."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from ragdistill import causal, writing
from ragdistill.encoder import pick_device
from ragdistill.endpoint.chat import CHAT
from ragdistill.errors import UserError
from ragdistill.files import sha256_file, sha256_json
from ragdistill.metrics.refusals import REFUSAL
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.training.pruning import choose_layers
from ragdistill_generator import contexts
from ragdistill_generator.answered import Answered
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.lesson import Lesson
from ragdistill_generator.policy_options import ASKED, OWN, TutorName
from ragdistill_generator.prompts import Prompter

WINDOW = 2048
"""Tokens of a question, its contexts and its answer, where that is not said."""


class Setup(Answered):
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
        """How questions are put to a model of that tokenizer; none is longer than all of them read.

        Raises:
            UserError: answers leave no room for them, or one of the models reads less.
        """
        config = self.config
        reads, name = self._shortest
        window = config.window or min(WINDOW, int(tokenizer.model_max_length), reads)
        if window > reads:
            raise UserError(
                f"{window} tokens are more than {name} reads ({reads})",
                where="--window",
                mend="lower it",
            )
        if window <= self.new_tokens:
            raise UserError(
                f"answers of {self.new_tokens} tokens leave nothing of a window of {window}",
                where="--window",
                mend="raise it, or have less written (--answer-tokens)",
            )
        return self.prompts(tokenizer, window, self.new_tokens, config.style)

    @cached_property
    def _shortest(self) -> tuple[int, str]:
        """What the models read, at the most, and which reads no more."""
        models = [self.base, *([] if self.served else [self.model, self.mentor_base])]
        by_path = {model.path: model for model in models}
        return min((causal.window(model), model.name) for model in by_path.values())

    @property
    def new_tokens(self) -> int:
        """Tokens after which a reply is cut."""
        return self.config.answer_tokens

    def final(self, reply: str) -> str:
        """The answer in what was written."""
        return reply.strip()

    def known(self, case: Case) -> str | None:
        """What is to be written where a right answer is known, whole: that there is none where the contexts
        are known to hold none; None where it is not known."""
        told = next((each for each in case.references if each.strip()), None)
        return REFUSAL if told is None and case.answerable is False else told

    @cached_property
    def gold(self) -> bool:
        """Whether the data's own answers are learnt.

        Raises:
            UserError: they are to be, and there are none.
        """
        wanted = self._own or self.config.answers
        # Of refusals alone no answers are learnt.
        any_known = any(self.known(case) for case in self.train_cases if case.references)
        if wanted == "gold" and not any_known:
            raise UserError(self.unknown[0], where=self.config.data, mend=self.unknown[1])
        return wanted != "teacher" and any_known

    def check_drawn(self) -> None:
        """Refuse to draw what is not learnt.

        Raises:
            UserError: the data's own answers are learnt, and the teacher's are to be drawn.
        """
        if self.gold and self.config.sampling:
            raise UserError(
                "nothing that the teacher writes is learnt, and it is measured by its likeliest words",
                where="--sampling",
                mend="leave it out, or give --answers teacher",
            )

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
        return causal.known_ends(self.base, self.tokenizer)

    def write(self) -> dict[str, Any]:
        """Have written what is not stored yet."""
        items = tokens = 0
        for writer, requests in self.asked:
            wrote = writing.collect(writer, requests, self.space(writer.fingerprint()))
            items, tokens = items + wrote.replies, tokens + wrote.tokens
        return {"items": items, "tokens": tokens}

    def tell(self) -> dict[str, Any]:
        """Have told of what is written what is not stored yet."""
        if not self.stores:
            return {"items": 0, "tokens": 0}
        told = self.teller.collect(self.told_lesson, self.context_weight > 0, self.distributions)
        _ = self.alike or self.coverage  # too little is refused before anything is trained
        return {"items": told.records, "tokens": told.tokens}

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
        if (ranked := contexts.ranking(self.config.contexts_from)) is not None:
            others["contexts"] = sha256_file(ranked)
        if self.teacher_prompter is not self.prompter:
            others["teacher_template"] = sha256_json(self.teacher_prompter.template)
        return others | {
            "teacher": self.writer.digest,
            "student": student,
            "data": self.collection.digest,
            "eval_data": self.eval_collection.digest,
            "template": sha256_json(self.prompter.template),
        }
