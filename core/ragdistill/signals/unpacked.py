"""The inverse of ``packed``, of many answers at once.

No length that the bytes tell is believed before it is compared with how many there are.
"""

from collections.abc import Sequence

import numpy as np

from ragdistill.signals import bits as streams
from ragdistill.signals.bits import Array, DamagedBits
from ragdistill.signals.distributions import TokenDistributions
from ragdistill.signals.packed import HEADER, Form, low_bits, tails_of


def unpack(records: Sequence[bytes], form: Form) -> list[TokenDistributions]:
    """The distributions of answers that ``packed.pack`` has written, to the precision of ``form``.

    Raises:
        DamagedBits: one of them it has not written, or in another form.
    """
    reader = _Reader(records)
    tokens, entries, count_bits, rice = _heads(reader, form)
    counts = reader.numbers(np.repeat(count_bits, tokens), tokens) + 1
    if (_sums(counts, tokens) != entries).any():
        raise DamagedBits("its counts do not add up")
    log_probs = reader.take(2 * tokens).view("<f2").astype(np.float32)
    if (log_probs > 0).any() or np.isinf(log_probs).any():
        raise DamagedBits("a log-probability is none")
    places = reader.numbers(streams.lengths(counts - 1), tokens)
    if (places >= counts).any():
        raise DamagedBits("a label is not among the entries")
    starts = np.cumsum(counts) - counts
    widths = low_bits(counts, np.repeat(rice, tokens))
    tail = np.zeros(len(counts), np.float32)
    if form.layout == "draws":
        low = reader.numbers(widths, entries)
        numbers = reader.unary(2 * entries)
        high, probs = numbers[::2], _shares(numbers[1::2], starts, starts + places, form.draws)
    else:
        if form.layout == "top-k":
            tail = tails_of(reader.take(tokens))
        codes = reader.numbers(np.full(len(widths), form.bits), entries)
        low, high = reader.numbers(widths, entries), reader.unary(entries)
        probs = _probs(codes, counts, starts, tail, form)
    ids = _ids((high << widths) + low, counts, starts, form.vocabulary)
    labels = ids[starts + places]
    whole = TokenDistributions(counts.astype(np.int32), ids, probs, tail, labels, log_probs)
    ends = np.cumsum(tokens)
    return [whole.part(start, end) for start, end in zip(ends - tokens, ends, strict=True)]


class _Reader:
    """Takes streams off the fronts of all records, numbers of a record behind those of the one before."""

    def __init__(self, records: Sequence[bytes]) -> None:
        sizes = np.array([len(record) for record in records], np.int64)
        raw = np.frombuffer(b"".join([*records, bytes(4)]), np.uint8)
        self._raw = raw
        self._words = np.ndarray((len(raw) - 3,), "<u4", raw.tobytes(), strides=(1,)).copy()
        self._ends = np.cumsum(sizes)
        self._at = self._ends - sizes

    @property
    def left(self) -> Array:
        """Bytes of each record that are not taken yet."""
        return self._ends - self._at

    def _skip(self, sizes: Array) -> Array:
        """Where the next ``sizes`` bytes of each record begin."""
        if (sizes > self.left).any():
            raise DamagedBits("it ends too early")
        starts = self._at
        self._at = starts + sizes
        return starts

    def take(self, sizes: Array) -> Array:
        """The next ``sizes`` bytes of each record, [sum(sizes)]."""
        starts = self._skip(sizes)
        before = np.cumsum(sizes) - sizes
        taken: Array = self._raw[np.arange(sizes.sum()) + np.repeat(starts - before, sizes)]
        return taken

    def numbers(self, widths: Array, counts: Array) -> Array:
        """The next ``counts`` numbers of each record, of ``widths`` [sum(counts)] bits: int64."""
        ends = np.cumsum(widths)
        total = _sums(widths, counts)
        starts = self._skip((total + 7) // 8)
        before = np.cumsum(total) - total
        at = ends - widths + np.repeat(8 * starts - before, counts)
        numbers: Array = (self._words[at >> 3].astype(np.int64) >> (at & 7)) & ((1 << widths) - 1)
        return numbers

    def unary(self, counts: Array) -> Array:
        """All that is left of each record, as ``counts`` numbers: of each as many zeros, and a one."""
        sizes = self.left
        stream = self.take(sizes)
        ones = np.flatnonzero(np.unpackbits(stream, bitorder="little").view(bool))
        ends, last = np.cumsum(sizes), np.cumsum(counts)
        some = counts > 0
        if (
            len(ones) != counts.sum()
            or (np.searchsorted(ones, 8 * ends) != last).any()
            or (ones[last[some] - 1] // 8 != ends[some] - 1).any()
            or sizes[~some].any()
        ):
            raise DamagedBits("a stream of counts has another length")
        before = np.concatenate([[-1], ones[:-1]])[: len(ones)]
        before[(last - counts)[some]] = 8 * (ends - sizes)[some] - 1
        numbers: Array = ones - before - 1
        return numbers


def _sums(values: Array, counts: Array) -> Array:
    """The sum of each record's values, ``counts`` of them: int64."""
    sums = np.concatenate([[0], np.cumsum(values)])
    ends = np.cumsum(counts)
    totals: Array = sums[ends] - sums[ends - counts]
    return totals


def _heads(reader: _Reader, form: Form) -> tuple[Array, Array, Array, Array]:
    """Of each record its tokens, its entries, the bits of a count, and ``rice``: int64."""
    sizes = reader.left
    heads = reader.take(np.full(len(sizes), HEADER.itemsize)).view(HEADER)
    expected = form.head
    if any((heads[name] != value).any() for name, value in expected.items()):
        raise DamagedBits("its header is that of other settings")
    names = [name for name in HEADER.names or () if name not in expected]
    told = {name: heads[name].astype(np.int64) for name in names}
    tokens, entries = told["tokens"], told["entries"]
    fits = (tokens <= entries) & (entries <= 8 * sizes) & ((tokens > 0) | (entries == 0))
    if not fits.all() or max(told["count_bits"].max(), told["rice"].max()) > streams.WIDEST:
        raise DamagedBits("its header does not fit its length")
    return tokens, entries, told["count_bits"], told["rice"]


def _ids(gaps: Array, counts: Array, starts: Array, vocabulary: int) -> Array:
    """Ids, int32 [m], of how many lie between each and the one before of its token."""
    sums = np.cumsum(gaps + 1)
    ids = sums - np.repeat(sums[starts] - gaps[starts], counts)
    if ids.max(initial=0) >= vocabulary:
        raise DamagedBits("an id is beyond the vocabulary")
    checked: Array = ids.astype(np.int32)
    return checked


def _probs(codes: Array, counts: Array, starts: Array, tail: Array, form: Form) -> Array:
    """Of each token such as add up to what its tail leaves: float32 [m]."""
    found = np.exp(-form.nats).astype(np.float32)[codes]
    scale = (1 - tail) / np.add.reduceat(found, starts) if len(starts) else tail
    probs: Array = found * np.repeat(scale, counts)
    return probs


def _shares(others: Array, starts: Array, labels: Array, draws: int) -> Array:
    """Shares of the draws, float32 [m]: of what was drawn once more than said, of labels the rest."""
    times = others + 1
    times[labels] = 0
    left = draws - np.add.reduceat(times, starts) if len(starts) else times
    if (left < 0).any() or others[labels].any():
        raise DamagedBits("its draws do not add up")
    times[labels] = left
    shares: Array = (times / draws).astype(np.float32)
    return shares
