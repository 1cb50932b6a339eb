"""What a plugin announces of a built-in data set: a description and where its loader lives."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragdistill.data.collection import Collection


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One built-in data set, announced lazily through the hook ``ragdistill_datasets``.

    ``summary`` is one line for ``ragdistill data list``; ``licence`` an SPDX identifier or the
    licence's name; ``address`` is ``"package.module:function"``, where the function takes nothing
    and returns a :class:`~ragdistill.data.collection.Collection`. The module is imported only when
    the set is asked for.
    """

    name: str
    summary: str
    licence: str
    address: str

    def load(self) -> "Collection":
        """Import the loader and call it.

        Raises:
            ValueError: ``address`` is not of the form ``module:function``.
            TypeError: the loader returned something else than a ``Collection``.
        """
        from ragdistill.data.collection import Collection

        module, separator, function = self.address.partition(":")
        if not (module and separator and function):
            raise ValueError(f"data set {self.name!r}: {self.address!r} is not 'module:function'")
        loaded = getattr(importlib.import_module(module), function)()
        if not isinstance(loaded, Collection):
            raise TypeError(f"data set {self.name!r}: {self.address} returned {type(loaded)}")
        return loaded
