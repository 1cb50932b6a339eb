"""A data set of the Hugging Face Hub, through the ``datasets`` library.

Two shapes are known: BEIR's (configurations ``corpus`` and ``queries``, and judgments in ``qrels``,
in ``default`` as MTEB has them, or in a second set ``<id>-qrels`` as BEIR has them), and pairs in
the columns of :data:`ragdistill.data.pairs.COLUMNS`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ragdistill.data import pairs
from ragdistill.data.collection import Collection, Qrels
from ragdistill.data.faults import Report, raise_fault
from ragdistill.data.lines import Row
from ragdistill.data.records import Judgment, gather, judge, parse_document, parse_query
from ragdistill.errors import UserError

_PATIENCE = 10.0
"""Seconds to wait for the Hub's first answer."""


def load(reference: str, report: Report = raise_fault) -> Collection:
    """The data set ``owner/name``; downloaded once, then from the library's cache.

    With ``HF_HUB_OFFLINE=1`` only what is in the cache is read, without the network.

    Raises:
        UserError: no such set, the Hub not reached, an unknown shape, or a fault in the data.
    """
    import datasets

    _probe(reference)
    try:
        configurations = datasets.get_dataset_config_names(reference)
        if "corpus" in configurations:
            return _load_beir(reference, configurations, report)
        return _load_pairs(reference, configurations, report)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"cannot be loaded from the Hugging Face Hub: {error}",
            where=reference,
            mend="check the id, or download the set and give its folder",
        ) from error


def _probe(reference: str) -> None:
    """One quick question to the Hub: ``datasets`` itself would try for 20 seconds to reach it."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        HfApi().dataset_info(reference, timeout=_PATIENCE)
    except RepositoryNotFoundError as error:
        raise UserError(
            "neither a file or folder here nor a data set on the Hugging Face Hub that you may read",
            where=reference,
            mend="check the spelling; for a private or gated set, log in with: hf auth login",
        ) from error
    except Exception as error:  # the transport's own errors differ between releases of the client
        raise UserError(
            "neither a file or folder here, nor can the Hugging Face Hub be reached"
            f" ({type(error).__name__}: {error})",
            where=reference,
            mend="check the path, give a local folder, or set HF_HUB_OFFLINE=1 to read the cache",
        ) from error


def _load_beir(reference: str, configurations: list[str], report: Report) -> Collection:
    documents, document_ids = gather(_records(reference, "corpus"), parse_document, report)
    if not document_ids:
        report(UserError("the corpus is empty", where=reference))
    if "queries" not in configurations:
        return Collection(reference, tuple(documents))
    queries, query_ids = gather(_records(reference, "queries"), parse_query, report)
    if named := [name for name in ("qrels", "default") if name in configurations]:
        tables = _tables(reference, named[0])
    else:
        _probe(f"{reference}-qrels")
        tables = _tables(f"{reference}-qrels", None)
    qrels: dict[str, Qrels] = {
        split: judge(_judgments(rows), f"{reference} {split}", query_ids, document_ids, report)
        for split, rows in tables.items()
    }
    return Collection(reference, tuple(documents), tuple(queries), qrels)


def _load_pairs(reference: str, configurations: list[str], report: Report) -> Collection:
    chosen = "default" if "default" in configurations else configurations[0]
    if len(configurations) > 1 and chosen != "default":
        raise UserError(
            f"several configurations, and none is BEIR's: {', '.join(configurations[:8])}",
            where=reference,
            mend="download the one you mean and give its file",
        )
    return pairs.collect(_tables(reference, chosen), reference, reference, None, report)


def _tables(reference: str, configuration: str | None) -> dict[str, Iterable[Row]]:
    """Split name to its rows."""
    import datasets

    loaded = datasets.load_dataset(reference, configuration)
    return {split: _rows(table, f"{reference} {split}") for split, table in loaded.items()}


def _rows(table: Iterable[dict[str, Any]], source: str) -> Iterator[Row]:
    for number, values in enumerate(table, 1):
        yield Row(source, number, values)


def _records(reference: str, configuration: str) -> Iterator[Row]:
    """The rows of all splits of a configuration, with MTEB's newer ``id`` called ``_id``."""
    for row in itertools.chain.from_iterable(_tables(reference, configuration).values()):
        has_id = "_id" in row.values or "id" not in row.values
        yield row if has_id else row._replace(values={"_id": row.values["id"], **row.values})


def _judgments(rows: Iterable[Row]) -> Iterator[Judgment]:
    for row in rows:
        found = (row.values.get(name) for name in ("query-id", "corpus-id", "score"))
        yield Judgment(row.source, row.number, *found)
