"""Who tells a student how likely tokens are, and how that comes to be said of the student's own tokens."""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ragdistill import causal
from ragdistill.alignment import Coverage
from ragdistill.encoder import pick_device
from ragdistill.errors import UserError
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.signals import default_address
from ragdistill.signals.logits import Kept, Sampled, TopK
from ragdistill.signals.store import SignalStore, Space
from ragdistill.training.pruning import choose_layers
from ragdistill_generator import cascade, telling, translating
from ragdistill_generator.case_data import CaseData
from ragdistill_generator.cases import Case
from ragdistill_generator.config import GeneratorConfig, refuse_cap
from ragdistill_generator.lesson import Example, Lesson
from ragdistill_generator.mixing import Mix
from ragdistill_generator.prompts import Prompter
from ragdistill_generator.reading import Reading
from ragdistill_generator.shaping import with_entropy
from ragdistill_generator.telling import Teller
from ragdistill_generator.translating import Translation


class Mentored(CaseData, ABC):
    """The teacher, or the last of those in between, as one whose distributions are learnt: the mentor."""

    def __init__(self, config: GeneratorConfig, folder: Path | None = None) -> None:
        """``folder``: of the run, below which teachers in between are."""
        super().__init__(config)
        self._folder = folder

    @property
    @abstractmethod
    def told(self) -> bool:
        """Whether its distributions are learnt."""

    @property
    @abstractmethod
    def model(self) -> ResolvedModel:
        """The teacher's files."""

    @property
    @abstractmethod
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""

    @property
    @abstractmethod
    def served(self) -> bool:
        """Whether the teacher is behind an endpoint."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The teacher, loaded."""

    @property
    @abstractmethod
    def ends(self) -> list[int]:
        """The tokens that end a student's answer."""

    @property
    @abstractmethod
    def context_weight(self) -> float:
        """What the contexts' tokens weigh."""

    @property
    @abstractmethod
    def precision(self) -> causal.Precision:
        """In what the teacher computes."""

    @property
    @abstractmethod
    def train_pairs(self) -> list[tuple[Case, str]]:
        """What is learnt from, each with the answer that is learnt."""

    @property
    @abstractmethod
    def new_tokens(self) -> int:
        """Tokens after which a reply is cut."""

    @abstractmethod
    def prompter_of(self, tokenizer: Any) -> Prompter:
        """How questions are put to a model of that tokenizer; none is longer than all of them read."""

    def _reading(self, tokenizer: Any, prompter: Prompter, ends: list[int]) -> Reading:
        config = self.config
        return Reading(tokenizer, prompter, ends, self.new_tokens, config.batch_tokens)

    @cached_property
    def ours(self) -> Reading:
        """How the student reads."""
        return self._reading(self.prompter.tokenizer, self.prompter, self.ends)

    @cached_property
    def teacher_prompter(self) -> Prompter:
        """How questions are put to the teacher; to one behind an endpoint as to the student."""
        if self.served or self.base.tokenizer_digest == self.model.tokenizer_digest:
            return self.prompter
        return self.prompter_of(causal.load_tokenizer(self.model))

    @cached_property
    def theirs(self) -> Reading:
        """How the teacher reads; of one that is here."""
        prompter = self.teacher_prompter
        if prompter is self.prompter:
            return self.ours
        ends = causal.ending_ids(self.network, prompter.tokenizer)
        return self._reading(prompter.tokenizer, prompter, ends)

    @cached_property
    def mentor_base(self) -> ResolvedModel:
        """The files of what the mentor is made of: what is known of it before it has learnt."""
        via = self.config.via
        if not via or cascade.is_number(via[-1]):
            return self.model
        found = resolve(via[-1], kind="causal-lm")
        causal.check(found, "--via")
        return found

    @property
    def mentor_layers(self) -> int:
        """How many layers the mentor has."""
        total, via = causal.depth(self.mentor_base), self.config.via
        return len(choose_layers(via[-1], total)) if via and cascade.is_number(via[-1]) else total

    @cached_property
    def mentors(self) -> Reading:
        """How the mentor reads."""
        base = self.mentor_base
        if base.tokenizer_digest == self.base.tokenizer_digest:
            return self.ours
        if base.tokenizer_digest == self.model.tokenizer_digest:
            return self.theirs
        tokenizer = causal.load_tokenizer(base)
        ends = causal.known_ends(base, tokenizer)
        return self._reading(tokenizer, self.prompter_of(tokenizer), ends)

    @cached_property
    def mentor(self) -> ResolvedModel:
        """Its files; of one in between once it has learnt."""
        if not self.config.via:
            return self.model
        if self._folder is None:
            raise ValueError("teachers in between are below a run folder")
        return resolve(str(cascade.student_of(self.config, self._folder)))

    @cached_property
    def mentor_network(self) -> Any:
        """It, loaded."""
        if not self.config.via:
            return self.network
        return causal.load(self.mentor, pick_device(self.config.device), self.precision)

    @cached_property
    def alike(self) -> bool:
        """Whether mentor and student read the same tokens in the same template."""
        return self.mentors is self.ours or self.mentors.like(self.ours)

    @cached_property
    def same_tokens(self) -> bool:
        """Whether mentor and student have the same tokens."""
        return self.mentors is self.ours or self.mentors.same_tokens(self.ours)

    @property
    def kept(self) -> Kept:
        """What is stored of a distribution."""
        config = self.config
        if (config.kept or ("sampled" if self.same_tokens else "top-k")) == "sampled":
            return Sampled(draws=config.draws, temperature=config.temperature)
        return TopK(mass=config.mass, most=config.top_k, temperature=config.temperature)

    @cached_property
    def teller(self) -> Teller:
        """The mentor as one whose distributions are stored."""
        return Teller(
            self.mentor_network,
            self.kept,
            weights=self.mentor.weights_digest,
            tokenizer=self.mentor.tokenizer_digest,
            precision=self.precision,
            words=causal.words(self.mentors.tokenizer),
        )

    @cached_property
    def distributions(self) -> Space:
        """Where they are. One in between was taught here, so another of its name is no surprise."""
        change = self.config.accept_teacher_change or bool(self.config.via)
        store = SignalStore(self.config.store or default_address())
        known = self.mentor.reference if self.config.via else self.known_as
        return store.space(self.teller.fingerprint(), teacher=known, accept_change=change)

    @property
    @abstractmethod
    def known_as(self) -> str:
        """What the store knows the teacher by."""

    @cached_property
    def translation(self) -> Translation:
        """From the mentor's tokens to the student's."""
        return Translation(self.mentors, self.ours, chain=self.config.temperature == 1)

    @cached_property
    def learnt_pairs(self) -> list[tuple[Case, str]]:
        """Of what is learnt from, what the student can say, and the mentor whose distributions are learnt.

        Raises:
            UserError: too few: there has to be one to learn, and one to hold out; or they hold what ends them.
        """
        if not self.told or self.alike:
            found = [pair for pair in self.train_pairs if self.ours.answer(pair[1])]
        else:
            found = self.translation.read(self.train_pairs)
        if len(found) < 2:
            raise UserError(
                f"{len(found)} answers are left to learn, and 2 are the least, one of them to be held out",
                where=self.config.data,
                mend="bring more answers, or raise --train-items or --answer-tokens",
            )
        self.ours.check_ends([text for _, text in found], self.base.path)
        return found

    @cached_property
    def lesson(self) -> Lesson:
        """What is learnt from as the student's tokens, without what the mentor says of them."""
        lesson = self.ours.lesson(self.learnt_pairs)
        return replace(lesson, examples=[*lesson.examples, *self.general])

    @cached_property
    def mix(self) -> Mix | None:
        """General text that is learnt, too.

        Raises:
            UserError: it is not there, or the mentor reads it in other tokens.
        """
        if self.config.mix is None:
            return None
        found = Mix.of(self.config.mix)
        if self.told and not self.alike:
            raise UserError(
                "general text is learnt where teacher and student have the same tokens and template",
                where="--mix",
                mend="leave it out",
            )
        _ = found.collection
        return found

    @cached_property
    def general(self) -> list[Example]:
        """Its examples; they stand behind the answers in a lesson."""
        if self.mix is None:
            return []
        answers = sum(len(self.ours.written(text)) for _, text in self.learnt_pairs)
        return self.mix.examples(self.ours, answers, self.config.seed, self.measured_texts)

    @cached_property
    def told_lesson(self) -> Lesson:
        """The same as the mentor's."""
        return self.lesson if self.alike else self.mentors.lesson(self.learnt_pairs)

    def check_tokens(self) -> None:
        """Refuse a mentor whose tokens say too little to the student, as far as that is known of answers.

        Raises:
            UserError: it is so, or what is asked for is only to be had where both have the same tokens.
        """
        config = self.config
        last = (config.via or ("",))[-1]
        if cascade.is_number(last) and not 0 < int(last) < causal.depth(self.model):
            raise UserError(
                f"is not fewer layers than the {causal.depth(self.model)} of {self.model.name}",
                where=f"--via {last}",
                mend="keep fewer, or name a model",
            )
        if not self.same_tokens and config.kept == "sampled":
            raise UserError(
                "of tokens that were drawn nobody knows what the student's own would have had",
                where="--kept",
                mend="leave it out, or give --kept top-k",
            )
        if self.same_tokens:
            refuse_cap(config)
        if not self.alike and config.context_weight:
            raise UserError(
                "contexts are not aligned where teacher and student have other tokens or templates",
                where="--context-weight",
                mend="leave it out",
            )

    @cached_property
    def foreseen(self) -> Coverage | None:
        """How many of the learnt answers' tokens will have a distribution; None where all have.

        Raises:
            UserError: too few.
        """
        if self.alike:
            return None
        found = self.translation.foreseen([text for _, text in self.learnt_pairs])
        self._check(found, mass=False)
        return found

    def _check(self, coverage: Coverage, *, mass: bool) -> None:
        names = {"theirs": self.mentor_base.name, "ours": self.base.name}
        translating.check(coverage, self.config.coverage, mass=mass, **names)

    @cached_property
    def _translated(self) -> tuple[Lesson, Coverage | None]:
        told = telling.stored(self.told_lesson, self.context_weight > 0, self.distributions)
        if self.alike:
            return told, None
        texts = [text for _, text in self.learnt_pairs]
        found, coverage = self.translation.lesson(texts, told, self.lesson)
        self._check(coverage, mass=True)
        return found, coverage

    @property
    def coverage(self) -> Coverage | None:
        """What became of the mentor's distributions in the student's tokens; None where they are the same.

        Raises:
            UserError: too little did.
        """
        return self._translated[1]

    @property
    def taught_lesson(self) -> Lesson:
        """The lesson with what the mentor said of it, as the student is to hear it."""
        return with_entropy(self._translated[0], self.config.entropy_floor)
