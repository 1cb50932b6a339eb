"""Which shard holds which key, and reading signals by key."""

import contextlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ragdistill.signals.codecs import Codec, Values
from ragdistill.signals.shards import Shard


class Index:
    """An unchanging set of opened shards, asked in their order. Keys are ``key_array``'s.

    A key may be in several shards (two processes stored it at once); the first one counts.
    """

    def __init__(self, shards: dict[str, Shard]) -> None:
        self.shards = shards

    def absent(self, keys: Values) -> Values:
        """For distinct keys [n]: whether no shard has them (bool [n])."""
        absent = np.ones(len(keys), dtype=bool)
        for shard in self.shards.values():
            absent[absent] = ~shard.locate(keys[absent])[1]
        return absent

    def read(self, codec: Codec, keys: Values) -> tuple[Values, Values]:
        """The signals of keys [n], and the positions of those that could not be found.

        What the first array holds at those positions is undefined.
        """
        out = codec.empty(len(keys))
        todo = np.arange(len(keys))
        for shard in self.shards.values():
            if not len(todo):
                break
            rows, found = shard.locate(keys[todo])
            with contextlib.suppress(FileNotFoundError):  # Removed by another process meanwhile.
                shard.gather(codec, rows[found], out, todo[found])
                todo = todo[~found]
        return out, todo

    def distinct(self) -> Iterator[tuple[Shard, Values, Values]]:
        """Shard by shard, the keys and rows of the records that ``read`` would use."""
        earlier: list[Shard] = []
        for shard in self.shards.values():
            fresh = np.ones(len(shard), dtype=bool)
            fresh[1:] = shard.keys[1:] != shard.keys[:-1]
            for other in earlier:
                fresh[fresh] = ~other.locate(shard.keys[fresh])[1]
            earlier.append(shard)
            yield shard, shard.keys[fresh], shard.rows[fresh]

    @cached_property
    def count(self) -> int:
        """Number of distinct keys."""
        return sum(len(keys) for _, keys, _ in self.distinct())
