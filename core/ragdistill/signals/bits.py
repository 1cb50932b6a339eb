"""Whole numbers as streams of bits: vectorised, least significant bit first."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
WIDEST = 24
"""Bits of the widest number, so that it lies in 4 bytes wherever it begins in its first."""


class DamagedBits(ValueError):
    """Bytes that are not what was written."""


def lengths(values: Array) -> Array:
    """Bits that whole numbers >= 0 below 2**53 take, as ``int.bit_length`` tells: int64."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def pack(values: Array, widths: Array) -> Array:
    """``values`` [n] as uint8 [ceil(sum(widths) / 8)]: of each its lowest ``widths`` [n] bits."""
    ends = np.cumsum(widths)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - widths, widths)
    return np.packbits((np.repeat(values, widths) >> within) & 1, bitorder="little")


def pack_unary(values: Array) -> Array:
    """``values`` [n] >= 0 as uint8: of each as many zeros, and a one."""
    ends = np.cumsum(values + 1)
    bits = np.zeros(ends[-1] if len(ends) else 0, np.uint8)
    bits[ends - 1] = 1
    return np.packbits(bits, bitorder="little")
