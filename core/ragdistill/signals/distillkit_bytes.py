"""How arcee-ai's DistillKit packs the log-probabilities and ids of a token into bytes.

As DistillKit 1.0.0 writes them (https://github.com/arcee-ai/DistillKit, commit a61c2e7): of the ``k`` most
probable tokens, most probable first, ``exact_k`` log-probabilities; the coefficients of a sum of
``polynomial_terms`` of the rank, which stands for the others; for each of ``residual_bins`` a scale and, in
so many bits, what the sum is off by. With ``delta_encoding`` each is the difference to the one before.
Their ids lie apart, in ceil(log2 ``d``) bits each, most significant bit first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ragdistill.errors import UserError, nearest
from ragdistill.signals.distributions import Array

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_SPECIAL = {"sqrt": np.sqrt, "exp": np.exp}


@dataclass(frozen=True)
class Bin:
    """Some ranks whose residuals share a scale."""

    scale_dtype: str
    element_bits: int
    num_elements: int

    @property
    def scale_bytes(self) -> int:
        """Bytes of the scale."""
        return _BYTES[self.scale_dtype]

    @property
    def bytes(self) -> int:
        """Bytes of the scale and the residuals."""
        return self.scale_bytes + (self.element_bits * self.num_elements + 7) // 8


@dataclass(frozen=True)
class Compression:
    """DistillKit's settings of a capture, by its names."""

    d: int
    k: int
    exact_k: int
    exact_dtype: str = "float32"
    polynomial_terms: tuple[int | str, ...] = ()
    term_dtype: str = "float32"
    residual_bins: tuple[Bin, ...] = ()
    delta_encoding: bool = True
    error_diffusion: bool = False
    normalize_t: bool = False

    @classmethod
    def of(cls, told: Mapping[str, Any], where: Path | None = None) -> "Compression":
        """The settings of a mapping, as YAML gives it.

        Raises:
            UserError: a setting is unknown, missing, or none that DistillKit has.
        """
        known = [item.name for item in fields(cls)]
        for name in told:
            if name not in known:
                raise UserError(f"unknown setting {name!r}{nearest(str(name), known)}", where=where)
        try:
            bins = tuple(Bin(**item) for item in told.get("residual_bins") or ())
            terms = tuple(told.get("polynomial_terms") or ())
            found = cls(**{**told, "residual_bins": bins, "polynomial_terms": terms})
            found._check()
        except (TypeError, ValueError) as error:
            raise UserError(f"no settings of a capture: {error}", where=where) from error
        return found

    def _check(self) -> None:
        if not 0 <= self.exact_k <= self.k or not 0 < self.k <= self.d:
            raise ValueError("not 0 <= exact_k <= k <= d")
        bins = self.residual_bins
        kinds = {self.exact_dtype, self.term_dtype, *(item.scale_dtype for item in bins)}
        if kinds - set(_BYTES):
            raise ValueError(f"{', '.join(sorted(kinds - set(_BYTES)))} is no type of number")
        if any(
            not isinstance(term, int) and term not in _SPECIAL for term in self.polynomial_terms
        ):
            raise ValueError("a term is a whole number, sqrt or exp")
        if any(not 1 <= item.element_bits <= 32 or item.num_elements < 1 for item in bins):
            raise ValueError("a bin has elements of 1 to 32 bits")
        if sum(item.num_elements for item in bins) > self.k - self.exact_k:
            raise ValueError("more residuals than values that are not exact")

    @property
    def id_bits(self) -> int:
        """Bits of an id."""
        return math.ceil(float(np.log2(np.float32(self.d))))

    @property
    def id_bytes(self) -> int:
        """Bytes of a token's ids."""
        return (self.k * self.id_bits + 7) // 8

    @property
    def exact_bytes(self) -> int:
        """Bytes of a token's exact log-probabilities."""
        return self.exact_k * _BYTES[self.exact_dtype]

    @property
    def terms_end(self) -> int:
        """Where the coefficients end."""
        return self.exact_bytes + len(self.polynomial_terms) * _BYTES[self.term_dtype]

    @property
    def value_bytes(self) -> int:
        """Bytes of a token's log-probabilities."""
        return self.terms_end + sum(item.bytes for item in self.residual_bins)


def log_probs_of(raw: Array, settings: Compression) -> Array:
    """The log-probabilities that bytes [n, value_bytes] stand for, most probable first: float32 [n, k]
    (float64 where ``exact_dtype`` is), rounded to ``exact_dtype`` as DistillKit's decoder rounds them."""
    exact = _floats(raw[:, : settings.exact_bytes], settings.exact_dtype)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # Of bytes that are none; NaN is refused later.
        others = _rounded(_residuals(raw[:, settings.terms_end :], settings), settings.exact_dtype)
        if settings.polynomial_terms:
            others = others + _fit(raw[:, settings.exact_bytes : settings.terms_end], settings)
        found = np.concatenate([exact, others], axis=1)
        if settings.delta_encoding:
            return _rounded(np.cumsum(found, axis=1, dtype=np.float32), settings.exact_dtype)
        return found


def ids_of(raw: Array, settings: Compression) -> Array:
    """The ids that bytes [n, id_bytes] stand for: int64 [n, k]."""
    return _numbers(raw, settings.id_bits, settings.k)


def packed_ids(ids: Array, settings: Compression) -> Array:
    """The inverse of :func:`ids_of`: uint8 [n, id_bytes]."""
    bits = (ids[:, :, None] >> np.arange(settings.id_bits - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(len(ids), -1), axis=1)


def _residuals(raw: Array, settings: Compression) -> Array:
    """What bins say, 0 where no bin reaches: float32 [n, k - exact_k]."""
    found = np.zeros((len(raw), settings.k - settings.exact_k), np.float32)
    at = start = 0
    for item in settings.residual_bins:
        scale = _floats(raw[:, at : at + item.scale_bytes], item.scale_dtype)
        steps = raw[:, at + item.scale_bytes : at + item.bytes]
        steps = _numbers(steps, item.element_bits, item.num_elements)
        one = item.element_bits == 1
        steps = steps * 2 - 1 if one else steps - (1 << item.element_bits - 1)
        stop = start + item.num_elements
        found[:, start:stop] = steps * scale
        at, start = at + item.bytes, stop
    return found


def _fit(raw: Array, settings: Compression) -> Array:
    """The sum of terms at each rank behind the exact ones, [n, k - exact_k], rounded to ``term_dtype`` as
    its products are."""
    count, dtype = settings.k - settings.exact_k, settings.term_dtype
    at = np.linspace(0, 1, count) if settings.normalize_t else np.arange(float(count))
    at = _rounded(at, dtype)
    powers = [
        at**term if isinstance(term, int) else _SPECIAL[term](at)
        for term in settings.polynomial_terms
    ]
    products = _rounded(np.stack(powers, axis=1), dtype) * _floats(raw, dtype)[:, None]
    return _rounded(_rounded(products, dtype).sum(axis=2), dtype)


def _numbers(raw: Array, width: int, count: int) -> Array:
    """``count`` numbers of ``width`` bits from bytes [n, bytes]: int64 [n, count]."""
    bits = np.unpackbits(raw, axis=1, count=width * count).reshape(len(raw), count, width)
    numbers: Array = bits @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
    return numbers


def _floats(raw: Array, dtype: str) -> Array:
    """Little-endian numbers, [n, bytes] to [n, numbers]: float32, or float64 where they are that."""
    whole = np.ascontiguousarray(raw)
    if dtype == "bfloat16":
        return (whole.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return whole.view(np.dtype(dtype)).astype(np.float64 if dtype == "float64" else np.float32)


def _rounded(values: Array, dtype: str) -> Array:
    """Values as ``dtype`` keeps them, in float32, or float64 where it is that."""
    if dtype == "float64":
        return values.astype(np.float64)
    whole = np.ascontiguousarray(values, np.float32)
    if dtype == "float16":
        return whole.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        read = whole.view(np.uint32)
        even = (read + np.uint32(0x7FFF) + ((read >> 16) & 1)) & np.uint32(0xFFFF0000)
        return even.view(np.float32)
    return whole
