"""Looking at a model on this disk again: unchanged since it was fetched, whole, and finite."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragdistill.errors import UserError
from ragdistill.models import aliases, folder
from ragdistill.models.digest import Digests, digests
from ragdistill.models.resolve import Located, locate, recorded, understand


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found to be right."""

    name: str
    located: Located
    digests: Digests
    recorded: bool
    """Whether there was a record to compare with; a local folder has none."""
    tensors: int
    """How many weight tensors were read, all of them finite."""


def verify(reference: str) -> Verification:
    """Check a model that is on this disk; nothing is fetched, every weight is read.

    Raises:
        UserError: it is not here, its files are unsafe or damaged, they differ from the record of
            their fetching, or a weight is NaN or infinite.
    """
    request = understand(reference, aliases.known())
    found = locate(request)
    if found is None:
        raise UserError(
            f"the model {request.name!r} is not on this machine",
            mend=f"`ragdistill models fetch {reference}`",
        )
    folder.check(found.path)
    if found.path.is_file():
        folder.check_gguf(found.path, thorough=True)
    record = recorded(found)
    if record is not None and (changed := record.changed(found.path)):
        raise UserError(
            f"changed since it was fetched: {', '.join(changed)}",
            where=found.path,
            mend="remove it and fetch it again",
        )
    return Verification(
        name=request.name,
        located=found,
        digests=digests(found.path),
        recorded=record is not None,
        tensors=_count_finite(found.path),
    )


def _count_finite(path: Path) -> int:
    count = 0
    for name, finite, file in _gguf(path) if path.is_file() else _safetensors(path):
        if not finite:
            raise UserError(f"the weight {name} holds NaN or infinity", where=file)
        count += 1
    return count


def _safetensors(path: Path) -> Iterator[tuple[str, bool, Path]]:
    import torch
    from safetensors import safe_open

    for file in folder.classify(path).weights:
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                tensor = weights.get_tensor(name)
                yield name, bool(torch.isfinite(tensor).all()), file


def _gguf(path: Path) -> Iterator[tuple[str, bool, Path]]:
    import gguf
    import numpy as np

    for tensor in gguf.GGUFReader(path).tensors:
        packed = not np.issubdtype(tensor.data.dtype, np.floating)  # quantized: integers on disk
        yield tensor.name, packed or bool(np.isfinite(tensor.data).all()), path
