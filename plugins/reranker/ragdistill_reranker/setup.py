"""What the reranker's stages stand on: each thing is read once, and only when it is needed."""

from functools import cached_property, partial
from pathlib import Path

import numpy as np

from ragdistill.data import leakage
from ragdistill.errors import UserError
from ragdistill.files import sha256_file
from ragdistill.first_stage import (
    NONE,
    Candidates,
    FirstStage,
    Places,
    Scores,
)
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.models.several import named, parse_weights
from ragdistill.run_data import RunData
from ragdistill.signals import default_address
from ragdistill.signals.fingerprint import Fingerprint
from ragdistill.signals.store import SignalStore, Space
from ragdistill_reranker import blending, scales, scoring, teachers
from ragdistill_reranker.blending import Blend, Part
from ragdistill_reranker.config import RerankerConfig
from ragdistill_reranker.cross_encoder import CrossEncoder
from ragdistill_reranker.endpoint.asking import RERANK
from ragdistill_reranker.endpoint.scorer import EndpointScorer
from ragdistill_reranker.finding import Finder
from ragdistill_reranker.generated import Generated, QuestionWriter, fingerprint
from ragdistill_reranker.language_model import LanguageModel
from ragdistill_reranker.lists import Lists, make_lists
from ragdistill_reranker.own_words import InItsWords
from ragdistill_reranker.questions import Question, questions
from ragdistill_reranker.scoring import Pair, Scorer

DEFAULT_MODEL = "MiniLM"
"""What a student is made of unless that is said."""
_LISTS = {True: 400, False: 2000}
"""Lists learnt from, of a language model and of a cross-encoder: what the one scores in minutes the
other scores in seconds."""


class Setup(RunData):
    """Models, data and stored scores of one run."""

    def __init__(self, config: RerankerConfig, folder: Path) -> None:
        """``folder``: of the run."""
        super().__init__(config)
        self.config, self.folder = config, folder

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """The teachers, each asked by itself.

        Raises:
            UserError: one cannot be had, or two are one.
        """
        names = named(self.config.teacher)
        found = tuple(teachers.make_scorer(self.config, name) for name in names)
        if not any(isinstance(scorer, EndpointScorer) for scorer in found):
            scale = (self.config.teacher_scale, "--teacher-scale")
            self.config.refuse_endpoint_options(RERANK.prefix, scale)
        digests = [scorer.fingerprint().id for scorer in found]
        for place, digest in enumerate(digests):
            if digest in digests[:place]:
                raise UserError(
                    f"{found[digests.index(digest)].name} and {found[place].name} are one",
                    where="--teacher",
                    mend="name one of them; --teacher-weights says how much each counts",
                )
        return found

    @property
    def served(self) -> bool:
        """Whether a teacher is behind an endpoint."""
        return any(isinstance(scorer, EndpointScorer) for scorer in self.scorers)

    def meet_teachers(self) -> None:
        """Let the teachers show who they are, before anything is asked that is to be stored."""
        for place, scorer in enumerate(self.scorers):
            scorer.meet(partial(self._needs, place))
        vars(self).pop("spaces", None)

    def _needs(self, place: int) -> bool:
        """Whether something is still to be asked of the teacher in that ``place``."""
        return any(scoring.unscored(self.scorers[place], self.pairs, self.spaces[place]))

    @cached_property
    def base(self) -> ResolvedModel:
        """The files of the model that the student is made of."""
        config, first = self.config, self.scorers[0]
        if config.student_model is not None:
            found = resolve(config.student_model)
        elif config.student == "cross-encoder" and isinstance(first, CrossEncoder):
            found = first.model
        else:
            found = resolve(DEFAULT_MODEL)
        if found.weights_digest == first.digest and not config.smaller:
            raise UserError(
                "the student would be the teacher itself",
                where="--student-layers",
                mend="keep fewer layers, as 3, or name another --student-model",
            )
        return found

    @property
    def fused(self) -> bool:
        """Whether the first stage teaches, too."""
        if self.config.fuse != "auto":
            return self.config.fuse == "on"
        return any(isinstance(scorer, LanguageModel) for scorer in self.scorers)

    @cached_property
    def finder(self) -> Finder:
        """What finds candidates."""
        return Finder(self.config, self.base, self.folder)

    @cached_property
    def stage(self) -> FirstStage:
        """What finds candidates in the text that is learnt from."""
        return self.finder.over([document.content for document in self.collection.documents])

    @cached_property
    def eval_stage(self) -> FirstStage:
        """The same in what is measured on."""
        if self.eval_collection is self.collection:
            return self.stage
        return self.finder.over(self.task.document_texts)

    @cached_property
    def writer(self) -> QuestionWriter | None:
        """The teacher that writes questions, if one is to.

        Raises:
            UserError: none writes text on this machine.
        """
        if self.config.questions != "generated":
            return None
        able = [scorer for scorer in self.scorers if isinstance(scorer, LanguageModel)]
        if self.served or not able:
            raise UserError(
                f"the teacher {self.config.teacher!r} writes none: only language models that run here do",
                where="--questions",
                mend="leave it out",
            )
        return QuestionWriter(able[0], self._space(able[0], fingerprint(able[0])))

    @property
    def _wanted(self) -> int:
        """How many lists are learnt from, at most."""
        slow = (LanguageModel, InItsWords)
        language = any(isinstance(scorer, slow) for scorer in self.scorers)
        return self.config.train_items or _LISTS[language]

    @cached_property
    def asking(self) -> Generated | None:
        """What asks of documents; None where pieces of them are."""
        if self.writer is None:
            return None
        documents, depth = self.collection.documents, self.config.candidates
        return Generated(self.writer, documents, self.stage, depth)

    @cached_property
    def questions(self) -> list[Question]:
        """What is learnt from: no evaluation query is among it."""
        if len(self.collection.documents) < 2:
            raise UserError(
                "holds one document, and there is nothing to rank",
                where=self.config.data,
                mend="bring more of them",
            )
        found = questions(
            self.collection,
            limit=self._wanted,
            seed=self.config.seed,
            avoid=self.judged,
            ask=self.asking,
        )
        if len(found) < 2:
            raise UserError(
                "holds nothing that could be put as a question to its documents",
                where=self.config.data,
                mend="bring judged queries (qrels/train.tsv), or documents of two sentences and more",
            )
        return found

    @cached_property
    def train_candidates(self) -> Candidates:
        """What the first stage finds for the questions that are learnt from."""
        queries = [question.text for question in self.questions]
        return self.stage.find(queries, self.config.candidates)

    @cached_property
    def train_places(self) -> Places:
        """The documents of the lists that are learnt from, ``[q, ways]``, the positive first."""
        asked, documents = self.questions, len(self.collection.documents)
        return make_lists(
            self.train_candidates,
            [question.text for question in asked],
            [question.relevant for question in asked],
            documents=documents,
            ways=min(self.config.ways, documents),
            seed=self.config.seed,
        )

    @cached_property
    def train_lists(self) -> Lists:
        """Their texts."""
        asked, documents, places = self.questions, self.collection.documents, self.train_places
        queries = [question.text for question in asked]
        rows = []
        for question, row in zip(asked, places, strict=True):
            texts = ["" if place == NONE else documents[place].content for place in row]
            if question.rest is not None:
                texts[0] = question.rest
            rows.append(texts)
        return Lists(queries, rows, places != NONE)

    @cached_property
    def eval_candidates(self) -> Candidates:
        """The candidates of the judged queries."""
        found = self.finder.brought(self.task)
        if found is not None:
            return found
        return self.eval_stage.find(self.task.query_texts, self.config.candidates)

    @cached_property
    def eval_lists(self) -> Lists:
        """What is reranked by everybody, in the first stage's order."""
        texts, places = self.task.document_texts, self.eval_candidates.places
        rows = [["" if place == NONE else texts[place] for place in row] for row in places]
        return Lists(self.task.query_texts, rows, places != NONE)

    @cached_property
    def near_duplicates(self) -> list[leakage.Match] | None:
        """Judged queries that resemble one learnt from; None where nothing is judged."""
        if not self.task.qrels:
            return None
        return leakage.near_duplicates(self.train_lists.queries, self.task.query_texts)

    @cached_property
    def spaces(self) -> tuple[Space, ...]:
        """Where the scores of each teacher are stored."""
        return tuple(self._space(scorer, scorer.fingerprint()) for scorer in self.scorers)

    def _space(self, scorer: Scorer, kept: Fingerprint) -> Space:
        store = SignalStore(self.config.store or default_address())
        change = self.config.accept_teacher_change
        return store.space(kept, teacher=scorer.known_as, accept_change=change)

    @property
    def pairs(self) -> list[Pair]:
        """All that the teachers have to score, each pair once."""
        return list(dict.fromkeys([*self.train_lists.pairs, *self.eval_lists.pairs]))

    def collect(self) -> scoring.Collected:
        """Have scored what is not stored yet."""
        done = [
            scoring.collect(scorer, self.pairs, space)
            for scorer, space in zip(self.scorers, self.spaces, strict=True)
        ]
        return scoring.Collected(
            sum(each.pairs for each in done), sum(each.tokens for each in done)
        )

    def parts(self, lists: Lists) -> list[Scores]:
        """The scores of each part of the teacher, ``[q, n]``."""
        found = []
        for scorer, space in zip(self.scorers, self.spaces, strict=True):
            scores = lists.spread(scoring.stored(space, lists.pairs))
            blending.refuse_constant(scorer.name, scores, lists.there)
            found.append(scales.to_log_odds(scores, self._scale(scorer, space)))
        if self.fused:
            stage = self.stage if lists is self.train_lists else self.eval_stage
            found.append(stage.scores(lists.queries, lists.texts))
        return found

    def _scale(self, scorer: Scorer, space: Space) -> str:
        """On what scale its scores are: a model that is here knows it, an endpoint shows it."""
        if not isinstance(scorer, EndpointScorer):
            return scorer.scale
        seen = scales.scale_of(scoring.stored(space, self.pairs))
        said = self.config.teacher_scale
        if said == scales.PROBABILITY != seen:
            raise UserError(
                f"not all scores of {scorer.name} are between 0 and 1: those are no probabilities",
                where="--teacher-scale",
                mend=f"leave it out, or say {'logit' if seen == scales.UNKNOWN else seen}",
            )
        if said in ("logit", "log-likelihood") and seen == scales.PROBABILITY:
            raise UserError(
                f"all scores of {scorer.name} are between 0 and 1: those are probabilities, not {said}s",
                where="--teacher-scale",
                mend="leave it out: they are taught as log-odds",
            )
        return said or seen

    @property
    def _named_parts(self) -> list[Part]:
        pairs = zip(self.scorers, self.spaces, strict=True)
        scale_of = [self._scale(scorer, space) for scorer, space in pairs]
        told = ["log-odds" if scale == scales.PROBABILITY else scale for scale in scale_of]
        names = [scorer.name for scorer in self.scorers]
        parts = [Part(name, scale) for name, scale in zip(names, told, strict=True)]
        if self.fused:
            parts.append(Part(f"first stage ({self.finder.name})", self.finder.scale))
        return parts

    @cached_property
    def blend(self) -> Blend:
        """How the parts make the teacher's score."""
        parts = self._named_parts
        weights = parse_weights(self.config.teacher_weights, len(parts))
        if weights is not None:
            return blending.given(parts, weights)
        lists, asked = self.train_lists, self.questions
        by_stage = self.stage.scores(lists.queries, lists.texts)
        found = self.train_candidates
        least = np.where(found.places == NONE, np.inf, found.scores).min(axis=1, keepdims=True)
        near = lists.there & (by_stage >= least)
        judged = np.array([question.judged for question in asked])
        return blending.calibrated(parts, self.parts(lists), near, near[:, 0], judged)

    def target(self, lists: Lists) -> Scores:
        """The teacher's score ``[q, n]``; 0 where there is no document."""
        return np.where(lists.there, self.blend(self.parts(lists)), 0).astype(np.float32)

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what the run stands on."""
        source = self.config.candidates_from
        given = Path(source) if source else None
        brought = {} if given is None or given.is_dir() else {"candidates": sha256_file(given)}
        return brought | {
            "teacher": "+".join(scorer.digest for scorer in self.scorers),
            "student": self.base.weights_digest,
            "first_stage": self.eval_stage.digest,
            "data": self.collection.digest,
            "eval_data": self.eval_collection.digest,
        }
