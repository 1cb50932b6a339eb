"""From what a person names to a collection: a folder, a file of pairs, a built-in, a Hub id."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ragdistill.data.collection import Collection
from ragdistill.data.faults import Report, raise_fault
from ragdistill.errors import UserError, nearest

if TYPE_CHECKING:
    from ragdistill.data.entries import DatasetEntry

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load(reference: str, report: Report = raise_fault) -> Collection:
    """The collection that ``reference`` names, the first that there is of:

    1. a folder in BEIR's layout, or with nothing but ``corpus.jsonl``;
       a ``.jsonl``, ``.csv`` or ``.parquet`` file of pairs;
    2. a built-in name (hook ``ragdistill_datasets``);
    3. the id ``owner/name`` of a data set on the Hugging Face Hub: only this reaches the network.

    Raises:
        UserError: nothing of that name (the nearest is suggested), or the first fault in the data;
            a ``report`` of its own is given every fault of a folder or file instead.
    """
    from ragdistill.data import beir, hub, pairs

    path = Path(reference)
    try:
        path = path.expanduser()
        exists = bool(reference) and path.exists()
    except (OSError, RuntimeError) as error:  # no permission, no such user, a name too long
        raise UserError(f"cannot be reached: {error}", where=reference) from error
    if exists:
        return beir.load(path, report) if path.is_dir() else pairs.load(path, report)
    known = builtin()
    if reference in known:
        return known[reference].load()
    if _HUB_ID.fullmatch(reference) and not _means_path(reference):
        return hub.load(reference, report)
    raise _unknown(reference, path, known)


def builtin() -> "dict[str, DatasetEntry]":
    """The built-in data sets that plugins announce, by name, sorted.

    Raises:
        UserError: two sets of one name.
    """
    from ragdistill import plugins

    known: dict[str, DatasetEntry] = {}
    for entry in plugins.announced(plugins.manager(), "ragdistill_datasets"):
        other = known.setdefault(entry.name, entry)
        if other != entry:
            raise UserError(
                f"two data sets are named {entry.name!r}: {other.address}, {entry.address}",
                mend="uninstall one of the two plugins",
            )
    return dict(sorted(known.items()))


def _means_path(reference: str) -> bool:
    """Whether a name that does not exist looks like a path all the same."""
    suffixes = (".jsonl", ".json", ".csv", ".tsv", ".parquet", "/", os.sep)
    return reference.startswith((".", "~", os.sep)) or reference.endswith(suffixes)


def _unknown(reference: str, path: Path, known: "dict[str, DatasetEntry]") -> UserError:
    if _means_path(reference) or os.sep in reference:
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        return UserError(f"no such file or folder{nearest(path.name, siblings)}", where=reference)
    return UserError(
        f"no data named {reference!r}{nearest(reference, known)}",
        mend=f"give a folder, a file of pairs, a Hugging Face id (owner/name), or a built-in:"
        f" {', '.join(known) or 'none is installed'}",
    )
