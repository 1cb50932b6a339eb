"""How expansions are searched with: their words behind the query (``append``), what query and variants find,
fused (``rrf``), or what the query finds with those words and without them, fused (``append-rrf``)."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragdistill.data.collection import Query
from ragdistill.first_stage import FirstStage
from ragdistill.metrics.retrieval import DEPTH
from ragdistill.metrics.trec import Rankings
from ragdistill_query_rewriter.evaluation import search, search_together
from ragdistill_query_rewriter.expansions import appended, joined
from ragdistill_query_rewriter.settings import Combine


@dataclass(frozen=True, slots=True)
class Way:
    """One of the three."""

    combine: Combine
    original_weight: float
    """Weight of the query's own words where others are appended."""

    def text(self, query: str, variants: Sequence[str]) -> str:
        """What is searched with: one query, or several between ``|||``."""
        if self.combine == "rrf" or not variants:
            return joined([query, *variants])
        whole = appended(query, variants, self.original_weight)
        return whole if self.combine == "append" else joined([query, whole])

    def find(
        self,
        stage: FirstStage,
        ids: Sequence[str],
        queries: Sequence[Query],
        texts: Sequence[str],
        depth: int = DEPTH,
    ) -> Rankings:
        """What such ``texts`` of ``queries`` find among the documents ``ids``."""
        found = search if self.combine == "append" else search_together
        return found(stage, ids, queries, texts, depth)
