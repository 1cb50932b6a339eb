"""What a run learns from and what it is measured on: each is read once, and only when it is needed."""

from functools import cached_property

from ragdistill.config import RunConfig
from ragdistill.data.collection import Collection
from ragdistill.data.loading import load
from ragdistill.data.splits import choose
from ragdistill.metrics import retrieval
from ragdistill.metrics.retrieval import Task


class RunData:
    """The collections of one run."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    @cached_property
    def collection(self) -> Collection:
        """The text to learn from."""
        return load(self._config.data)

    @cached_property
    def eval_collection(self) -> Collection:
        """What is measured on."""
        named = self._config.eval_data
        return load(named) if named else self.collection

    @cached_property
    def task(self) -> Task:
        """The judged queries."""
        config = self._config
        if config.eval_data is not None:
            choose(self.eval_collection)  # what is named for evaluation must have judgments
        return retrieval.make_task(
            self.eval_collection, limit=config.eval_queries, seed=config.seed
        )

    @cached_property
    def judged(self) -> list[str]:
        """Texts that nothing may be learnt from: every query that is not of the train split alone,
        drawn for evaluation or not."""
        measured = self.eval_collection
        if not measured.queries:
            return [retrieval.opening(document) for document in measured.documents]
        splits = measured.qrels
        # A query that two splits judge is an evaluation query, too.
        judged = {query for split, rows in splits.items() if split != "train" for query in rows}
        train = set(splits.get("train", {})) - judged
        return [query.text for query in measured.queries if query.id not in train]
