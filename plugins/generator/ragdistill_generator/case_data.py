"""The questions of a run: each part is made once, and only when it is needed."""

from abc import ABC, abstractmethod
from functools import cached_property

from ragdistill.data import leakage
from ragdistill.data.collection import Collection
from ragdistill.run_data import RunData
from ragdistill_generator import cases, contexts
from ragdistill_generator.cases import Case, Split
from ragdistill_generator.config import GeneratorConfig
from ragdistill_generator.prompts import Prompter


class CaseData(RunData, ABC):
    """What is learnt from and what is measured on, no longer than the models read."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.config = config

    @property
    @abstractmethod
    def prompter(self) -> Prompter:
        """How questions are put to the student."""

    @property
    @abstractmethod
    def teacher_prompter(self) -> Prompter:
        """How questions are put to the teacher."""

    def fitted(self, case: Case) -> tuple[Case, int]:
        """The case as teacher and student both can read it, and how many tokens of contexts were left out."""
        case, cut = self.prompter.fitted(case)
        if self.teacher_prompter is self.prompter:
            return case, cut
        case, more = self.teacher_prompter.fitted(case)
        return case, cut + more

    @cached_property
    def parts(self) -> Split:
        """Which questions are learnt from."""
        return cases.divide(self.collection, self.config.seed)

    def _find(self, collection: Collection) -> cases.Find:
        return contexts.finder(self.config.contexts_from, collection, self.config.contexts)

    @cached_property
    def train_cases(self) -> list[Case]:
        """What is learnt from, no longer than the models read."""
        config, data = self.config, self.collection
        found = cases.learnt(data, self.parts, self._find(data), config.train_items, config.seed)
        return [self.fitted(case)[0] for case in found]

    @cached_property
    def _measured(self) -> list[tuple[Case, int]]:
        config, data = self.config, self.eval_collection
        judged = self.parts.test
        if self._apart:
            # Nothing of it trains, so all that is judged there is measured on.
            judged = {query: row for rows in data.qrels.values() for query, row in rows.items()}
        found = cases.measured(data, judged, self._find(data), config.eval_queries, config.seed)
        return [self.fitted(case) for case in found]

    @cached_property
    def _apart(self) -> bool:
        """Whether what is measured on is another collection than what is learnt from, however it is named."""
        return self.eval_collection.digest != self.collection.digest

    @property
    def split(self) -> str:
        """What the part is called that is measured on."""
        if self._apart:
            return "all that is judged"
        return self.parts.name

    @property
    def eval_cases(self) -> list[Case]:
        """What is measured on."""
        return [case for case, _ in self._measured]

    @property
    def measured_texts(self) -> frozenset[str]:
        """Documents that are judged relevant to what is measured on, and so must not be learnt."""
        data, asked = self.eval_collection, {case.id for case in self.eval_cases}
        relevant = {
            document
            for rows in data.qrels.values()
            for query in asked & rows.keys()
            for document, grade in rows[query].items()
            if grade > 0
        }
        return frozenset(each.content for each in data.documents if each.id in relevant)

    @property
    def cut(self) -> int:
        """Tokens of contexts that were left out of what is measured on."""
        return sum(tokens for _, tokens in self._measured)

    @cached_property
    def near_duplicates(self) -> list[leakage.Match]:
        """Questions that are measured on and resemble one that is learnt from."""
        learnt, asked = self.train_cases, self.eval_cases
        return leakage.near_duplicates(
            [case.question for case in learnt], [case.question for case in asked]
        )
