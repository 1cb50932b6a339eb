"""Captures of arcee-ai's DistillKit: read into distributions, and written for its decoder.

What DistillKit 1.0.0 (https://github.com/arcee-ai/DistillKit, commit a61c2e7) captures is a folder of
``data_N.parquet`` and ``compression_config.yaml``. A row is a text: ``input_ids`` (list of uint64, all its
tokens), and for each token but the last, of what comes behind it, ``compressed_logprobs`` and
``bytepacked_indices`` (lists of bytes, see ``distillkit_bytes``). The older columns ``packed_indices``,
``exact_values`` and ``coeffs`` hold logits without their normaliser, so no probabilities can be had of
them, and they are refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ragdistill.errors import UserError
from ragdistill.files import atomic_path, write_text, writing
from ragdistill.signals.distillkit_bytes import Compression, ids_of, log_probs_of, packed_ids
from ragdistill.signals.distributions import Array, TokenDistributions, by_id

CONFIG = "compression_config.yaml"
UNTRAINED = -100
"""Label of what is no part of an answer."""
LEAST = -30.0
"""Log-probability of what has none: of minus infinity DistillKit's losses are NaN."""
_ROWS = 16
_BYTES = pa.list_(pa.list_(pa.uint8()))
_COLUMNS = {
    "input_ids": pa.list_(pa.uint64()),
    "compressed_logprobs": _BYTES,
    "bytepacked_indices": _BYTES,
}
_SCHEMA = pa.schema({**_COLUMNS, "labels": pa.list_(pa.int64())})


def read(
    source: Path, settings: Compression | None = None
) -> Iterator[tuple[Array, TokenDistributions]]:
    """The texts of a capture, in order: input ids, int32 [t], and the distributions of all but the
    first, [t - 1]: distribution i is that of input id i + 1. ``part`` takes an answer's out of them.

    The probabilities are those that DistillKit's decoder makes of the bytes, scaled to add up to 1 where
    they are more; what is left to 1 is the tail. A label that is not among the k is added with its
    even share of that, and its log-probability is unknown (NaN). Rows into which several texts were
    packed are not told apart.

    Args:
        source: A captured folder, or one parquet file.
        settings: How it was compressed; from ``compression_config.yaml`` beside it if left out.

    Raises:
        UserError: it cannot be read, has other columns, or does not fit its settings.
    """
    folder = source if source.is_dir() else source.parent
    chosen = settings or read_settings(folder / CONFIG)
    paths = sorted(source.glob("*.parquet"), key=_order) if source.is_dir() else [source]
    if not paths:
        raise UserError("no parquet files", where=source)
    for path in paths:
        yield from _texts(path, chosen)


def read_settings(path: Path) -> Compression:
    """The settings in a ``compression_config.yaml``.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot be read: {error}", where=path) from error
    if not isinstance(told, dict):
        raise UserError("no settings of a capture", where=path)
    return Compression.of(told, path)


def write(
    folder: Path,
    answers: Iterable[tuple[Array, TokenDistributions]],
    *,
    vocabulary: int,
    k: int = 64,
    file_rows: int = 256,
) -> int:
    """A capture that DistillKit reads with the ``compression_config.yaml`` beside it; the number of texts.

    Of each token the ``k`` most probable entries, as float16 log-probabilities. Where there are fewer,
    other ids fill up, each with its even share of the tail. What stands before an answer is said
    to be evenly distributed, and ``labels`` leave it out: DistillKit then takes its divergence on all of an answer
    but its first token, for it looks for the label of position i where it predicts i + 1.

    Args:
        answers: Ids of what stands before each answer, at least one, and its distributions, at
            temperature 1 unless the run's ``preapplied_temperature`` says otherwise.

    Raises:
        UserError: the folder has files already, cannot be written, or nothing stands before an answer.
    """
    import yaml

    if folder.exists() and any(folder.iterdir()):
        raise UserError("exists already", where=folder, mend="choose another name")
    settings = Compression(vocabulary, min(k, vocabulary), min(k, vocabulary), "float16")
    told = {**asdict(settings), "polynomial_terms": None, "residual_bins": []}
    told["delta_encoding"] = False
    settings = Compression.of(told)
    rows, number, waiting = 0, 0, iter(answers)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        while part := list(islice(waiting, file_rows)):
            table = _table([_row(before, said, settings) for before, said in part])
            with atomic_path(folder / f"data_{number}.parquet") as temporary:
                pq.write_table(table, temporary)
            rows, number = rows + len(part), number + 1
        write_text(folder / CONFIG, yaml.safe_dump(told))
    return rows


def _order(path: Path) -> tuple[int, str]:
    """``data_10`` behind ``data_9``."""
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else 0, path.name)


def _texts(path: Path, settings: Compression) -> Iterator[tuple[Array, TokenDistributions]]:
    try:
        with pq.ParquetFile(path) as file:
            lacking = [name for name in _COLUMNS if name not in file.schema_arrow.names]
            if lacking:
                mend = "only what DistillKit 1.0 captures is read"
                raise UserError(f"no column {', '.join(lacking)}", where=path, mend=mend)
            for batch in file.iter_batches(_ROWS, columns=list(_COLUMNS)):
                columns = [batch.column(name).cast(kind) for name, kind in _COLUMNS.items()]
                if any(column.null_count for column in columns):
                    raise ValueError("an empty row")
                for row in range(batch.num_rows):
                    ids, values, places = (column[row].values for column in columns)
                    yield _text(ids, values, places, settings)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise UserError(f"no capture of DistillKit: {error}", where=path) from error


def _text(
    ids: pa.Array, values: pa.Array, places: pa.Array, settings: Compression
) -> tuple[Array, TokenDistributions]:
    """One row of a capture."""
    tokens = ids.to_numpy(zero_copy_only=False)
    raw, packed = _matrix(values, settings.value_bytes), _matrix(places, settings.id_bytes)
    # As many as there are tokens once DistillKit has cut the last token off to pack rows.
    if len(raw) != len(packed) or not len(tokens) - 1 <= len(raw) <= len(tokens):
        raise ValueError(f"{len(raw)} distributions of {len(tokens)} tokens")
    n = max(len(tokens) - 1, 0)
    found = ids_of(packed[:n], settings)
    if max(found.max(initial=0), int(tokens.max(initial=0))) >= settings.d:
        raise ValueError(f"an id beyond the vocabulary of {settings.d}")
    tokens = tokens.astype(np.int32)
    log_probs = log_probs_of(raw[:n], settings)
    return tokens, _distributions(found, log_probs, tokens[1:], settings.d)


def _matrix(lists: pa.Array, width: int) -> Array:
    """Lists of bytes, each ``width`` long, as uint8 [n, width]."""
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    odd = lengths[lengths != width]
    if len(odd):
        raise ValueError(f"{odd[0]} bytes of a token, where its settings make {width}")
    matrix: Array = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return matrix


def _distributions(ids: Array, log_probs: Array, labels: Array, d: int) -> TokenDistributions:
    """Of ids and log-probabilities [n, k], minus infinity where there were fewer."""
    probs = np.exp(np.minimum(log_probs, 0).astype(np.float64))
    kept = probs > 0
    if np.isnan(probs).any() or not kept.any(axis=1).all():
        raise ValueError("a token without probabilities")
    probs /= np.maximum(probs.sum(axis=1, keepdims=True), 1)
    tail = np.maximum(1 - probs.sum(axis=1), 0)
    here = (ids == labels[:, None]) & kept
    among = here.any(axis=1)
    share = np.where(among, 0, tail / np.maximum(d - kept.sum(axis=1), 1))
    known = np.minimum(log_probs[np.arange(len(ids)), here.argmax(axis=1)], 0)
    said = by_id(
        np.concatenate([ids, labels[:, None]], axis=1),
        np.concatenate([probs, share[:, None]], axis=1),
        np.concatenate([kept, ~among[:, None]], axis=1),
        tail - share,
        labels,
        np.where(among, known, np.nan).astype(np.float32),
    )
    if ((np.diff(said.ids) == 0) & (np.diff(said.owners) == 0)).any():
        raise ValueError("a token has an id twice")
    return said


def _row(before: Array, said: TokenDistributions, settings: Compression) -> dict[str, Array]:
    """The columns of one text."""
    if not len(before):
        raise UserError("nothing stands before an answer", mend="give it its prompt")
    tokens = np.concatenate([before, said.labels])
    labels = np.concatenate([np.full(len(before), UNTRAINED), said.labels])
    ids = np.tile(np.arange(settings.k), (len(tokens) - 1, 1))
    values = np.full(ids.shape, -np.log(settings.d))
    if len(said):
        ids[len(before) - 1 :], values[len(before) - 1 :] = _most_probable(said, settings)
    raw = values.astype("<f2").view(np.uint8)
    packed = packed_ids(ids, settings)
    columns = (tokens.astype(np.uint64), raw, packed, labels.astype(np.int64))
    return dict(zip(_SCHEMA.names, columns, strict=True))


def _most_probable(said: TokenDistributions, settings: Compression) -> tuple[Array, Array]:
    """``k`` ids of each token and their log-probabilities, [n, k], the greatest first."""
    n, k = len(said), settings.k
    order = np.lexsort((-said.probs, said.owners))
    rank = np.arange(len(order)) - np.repeat(said.starts[:-1], said.counts)
    kept = rank < k
    at = said.owners[kept], rank[kept]
    ids, probs, filled = np.zeros((n, k), np.int64), np.zeros((n, k)), np.zeros((n, k), bool)
    ids[at], probs[at], filled[at] = said.ids[order][kept], said.probs[order][kept], True
    taken = np.zeros((n, k), bool)
    low = said.ids < k
    taken[said.owners[low], said.ids[low]] = True
    free = np.argsort(
        taken, axis=1, kind="stable"
    )  # Of k ids at least k less the entries are free.
    spare = np.clip(np.arange(k) - said.counts[:, None], 0, None)
    share = said.tail / np.maximum(settings.d - said.counts, 1)
    ids = np.where(filled, ids, np.take_along_axis(free, spare, axis=1))
    probs = np.where(filled, probs, share[:, None])
    values = np.log(np.maximum(probs, np.exp(LEAST)))
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)


def _table(rows: list[dict[str, Array]]) -> pa.Table:
    """Rows as Arrow lists."""
    columns = [
        pa.array([list(row[name]) for row in rows], type=_SCHEMA.field(name).type)
        for name in _SCHEMA.names
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)
