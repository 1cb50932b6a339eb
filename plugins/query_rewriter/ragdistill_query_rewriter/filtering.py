"""Which expansions are taught: those that find better what was judged to be relevant.

Each is tried on the corpus. One is taught if by some search it raises the average precision, which for
one relevant document is its rank, and by none lowers that or nDCG@10. A query that finds a relevant document
among its first three, and gains nothing, is taught to stay as it is. Of the others nothing is learnt.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ragdistill.data.collection import Query
from ragdistill.first_stage import FirstStage
from ragdistill_query_rewriter.evaluation import found_well, values
from ragdistill_query_rewriter.expansions import Expansion, similarity
from ragdistill_query_rewriter.ways import Way
from ragdistill_query_rewriter.words import words

DEPTH = 1000
"""How deep an expansion is looked for what it moved."""
_LEAST = 1e-9
Outcome = Literal["better", "good", "no_better", "worse", "unjudged", "fault"]
"""What became of an expansion; a ``good`` query does without."""
Target = tuple[str, ...]
"""The variants that are taught; none where the query is to stay as it is."""
Judged = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Filtered:
    """What is taught of some queries."""

    queries: Sequence[Query]
    outcomes: Sequence[Outcome]
    targets: Sequence[Target | None]
    """None where nothing is taught."""
    expansions: Sequence[Expansion] = field(default=())

    @property
    def taught(self) -> list[tuple[Query, Target]]:
        """The queries of which something is."""
        pairs = zip(self.queries, self.targets, strict=True)
        return [(query, target) for query, target in pairs if target is not None]

    def as_json(self) -> dict[str, Any]:
        """``filter`` of report.json."""
        told = [(query, target) for query, target in self.taught if target]
        count = len(self.queries)
        lengths = [len(words(" ".join(target))) for _, target in told]
        alike = [similarity(query.text, " ".join(target)) for query, target in told]
        counts = Counter(self.outcomes)
        faults = Counter(each.fault for each in self.expansions if each.fault is not None)
        dropped = Counter(why for each in self.expansions for why in each.dropped)
        outcomes: Sequence[Outcome] = ("better", "good", "no_better", "worse", "unjudged", "fault")
        return {
            "queries": count,
            "yield": len(told) / count if count else None,
            **{name: counts[name] for name in outcomes},
            "faults": dict(sorted(faults.items())),
            "dropped": dict(sorted(dropped.items())),
            "words": float(np.mean(lengths)) if lengths else None,
            "similarity": float(np.mean(alike)) if alike else None,
        }


class Trial:
    """Tries expansions with some searches of one corpus."""

    def __init__(
        self, stages: Sequence[FirstStage], ids: Sequence[str], way: Way, judged: Judged
    ) -> None:
        """
        Args:
            stages: the searches; whether a query is good as it is, the first says.
            ids: the documents'.
            way: how expansions are searched with.
            judged: grades of documents by query, at least one above 0 each.
        """
        self._stages, self._ids, self._way, self._judged = stages, ids, way, judged

    def __call__(self, queries: Sequence[Query], expansions: Sequence[Expansion]) -> Filtered:
        """What is taught of ``queries``."""
        known = [place for place, query in enumerate(queries) if query.id in self._judged]
        outcomes: list[Outcome] = ["unjudged"] * len(queries)
        tried = self._tried([queries[p] for p in known], [expansions[p].variants for p in known])
        for place, outcome in zip(known, tried, strict=True):
            fault = expansions[place].fault is not None and outcome != "good"
            outcomes[place] = "fault" if fault else outcome
        pairs = zip(outcomes, expansions, strict=True)
        targets = [_target(outcome, expansion) for outcome, expansion in pairs]
        return Filtered(queries, outcomes, targets, expansions)

    def _tried(self, queries: Sequence[Query], variants: Sequence[Sequence[str]]) -> list[Outcome]:
        if not queries:
            return []
        texts = [query.text for query in queries]
        pairs = zip(texts, variants, strict=True)
        expanded = [self._way.text(text, each) for text, each in pairs]
        qrels = {query.id: self._judged[query.id] for query in queries}
        rises, falls = np.zeros(len(queries), bool), np.zeros(len(queries), bool)
        good = rises
        for number, stage in enumerate(self._stages):
            raw, new = (
                self._way.find(stage, self._ids, queries, each, DEPTH) for each in (texts, expanded)
            )
            deep, top = (
                values(qrels, new, measure) - values(qrels, raw, measure)
                for measure in (f"AP@{DEPTH}", "nDCG@10")
            )
            rises, falls = rises | (deep > _LEAST), falls | (deep < -_LEAST) | (top < -_LEAST)
            good = found_well(qrels, raw) if number == 0 else good
        return [
            _outcome(*each)
            for each in zip(rises.tolist(), falls.tolist(), good.tolist(), strict=True)
        ]


def unfiltered(queries: Sequence[Query], expansions: Sequence[Expansion]) -> Filtered:
    """Everything that is whole, whatever it does to the search."""
    outcomes: list[Outcome] = ["fault" if each.fault else "unjudged" for each in expansions]
    targets = [None if each.fault else each.variants for each in expansions]
    return Filtered(queries, outcomes, targets, expansions)


def _outcome(rises: bool, falls: bool, good: bool) -> Outcome:
    if rises and not falls:
        return "better"
    if good:
        return "good"
    return "worse" if falls else "no_better"


def _target(outcome: Outcome, expansion: Expansion) -> Target | None:
    if outcome == "better":
        return expansion.variants
    return () if outcome == "good" else None
