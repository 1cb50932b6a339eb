"""Captures of DistillKit: bytes that it wrote are read, and what is written its arithmetic reads back.

The bytes below are what DistillKit 1.0.0 (commit a61c2e7) made of three distributions over 50 ids, and the
values what its decoder made of them.
"""

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ragdistill.errors import UserError
from ragdistill.signals.distillkit import CONFIG, UNTRAINED, read, write
from ragdistill.signals.distillkit_bytes import Compression, log_probs_of
from ragdistill.signals.distributions import TokenDistributions, sampled, top_k
from ragdistill.signals.logits import LogitCodec, TopK

IDS = [[45, 23, 29, 28, 13, 14], [9, 19, 39, 12, 46, 8], [22, 38, 27, 25, 45, 16]]
PACKED = ["b5775c34e0", "2539ccb880", "5a66d9b500"]
PLAIN: dict[str, Any] = {
    "d": 50,
    "k": 6,
    "exact_k": 2,
    "exact_dtype": "bfloat16",
    "polynomial_terms": [0, 1, "sqrt"],
    "term_dtype": "float32",
    "residual_bins": [],
    "delta_encoding": False,
    "error_diffusion": False,
    "normalize_t": False,
}
PLAIN_BYTES = [
    "82bff5bf138d1cc0ef3448be1ebf54be",
    "cfbe06c066b127c06481af3dfb7786bf",
    "a9bff5bf6ac718c02b43d0bccad7efbe",
]
PLAIN_VALUES = [
    [-1.015625, -1.914062, -2.44611, -2.849385, -3.130957, -3.392505],
    [-0.404297, -2.09375, -2.620203, -3.585043, -3.934494, -4.182697],
    [-1.320312, -1.914062, -2.387171, -2.881037, -3.100495, -3.274807],
]
BINNED: dict[str, Any] = {
    "d": 50,
    "k": 6,
    "exact_k": 1,
    "exact_dtype": "float32",
    "polynomial_terms": [0, 1],
    "term_dtype": "float32",
    "residual_bins": [
        {"scale_dtype": "float16", "element_bits": 3, "num_elements": 2},
        {"scale_dtype": "float32", "element_bits": 1, "num_elements": 2},
    ],
    "delta_encoding": True,
    "error_diffusion": True,
    "normalize_t": True,
}
BINNED_BYTES = [
    "7cf881bf546648bf18061e3f66271c4052a43d80",
    "5deccebe37f5aebfb86d9c3f41305cc8ce563e00",
    "f36aa9bfc2d21ebfe660f23ed11ffce0f98b3d00",
]
BINNED_VALUES = [
    [-1.015396, -1.913808, -2.455598, -2.849535, -3.249621, -3.415152],
    [-0.404147, -2.036875, -2.699405, -3.664987, -4.325045, -4.469805],
    [-1.323576, -1.92108, -2.400235, -2.852288, -3.185993, -3.333001],
]
TOKENS = [7, 23, 3, 38]
"""Of the three predicted, the second is not among the six."""


def capture(folder: Path, settings: dict[str, Any], values: list[str], **columns: Any) -> Path:
    """A captured folder of one text."""
    folder.mkdir()
    (folder / CONFIG).write_text(yaml.safe_dump(settings))
    table = {
        "input_ids": [TOKENS],
        "compressed_logprobs": [[list(bytes.fromhex(item)) for item in values]],
        "bytepacked_indices": [[list(bytes.fromhex(item)) for item in PACKED]],
    }
    pq.write_table(pa.table({**table, **columns}), folder / "data_0.parquet")
    return folder


@pytest.mark.parametrize(
    ("settings", "raw", "values"),
    [(PLAIN, PLAIN_BYTES, PLAIN_VALUES), (BINNED, BINNED_BYTES, BINNED_VALUES)],
    ids=["plain", "binned"],
)
def test_what_distillkit_wrote_is_read(
    tmp_path: Path, settings: dict[str, Any], raw: list[str], values: list[list[float]]
) -> None:
    ((ids, said),) = read(capture(tmp_path / "there", settings, raw))
    assert ids.tolist() == TOKENS
    assert said.labels.tolist() == TOKENS[1:]
    assert said.counts.tolist() == [6, 7, 6]
    for row in range(3):
        own = said.part(row, row + 1)
        found = dict(zip(own.ids.tolist(), own.probs.tolist(), strict=True))
        for place, value in zip(IDS[row], values[row], strict=True):
            assert found[place] == pytest.approx(math.exp(value), rel=2e-6)
        assert sum(found.values()) + own.tail[0] == pytest.approx(1, abs=1e-6)
        if row == 1:
            assert found[3] == pytest.approx((1 - sum(map(math.exp, values[1]))) / 44, rel=1e-5)
            assert own.tail[0] == pytest.approx(43 * found[3], rel=1e-5)
    expected = [values[0][1], math.nan, values[2][1]]
    np.testing.assert_allclose(said.label_log_probs, expected, rtol=1e-6)
    codec = LogitCodec(50, TopK())
    batch = pa.record_batch(codec.encode([said]), schema=pa.schema(codec.columns))
    again = codec.decode(batch, np.array([0]))[0]
    np.testing.assert_array_equal(np.isnan(again.label_log_probs), [False, True, False])


def test_packed_rows_lack_the_last_token_and_short_lists_end_in_nothing(tmp_path: Path) -> None:
    cut = capture(tmp_path / "cut", PLAIN, PLAIN_BYTES, input_ids=[TOKENS[:3]])
    ((ids, said),) = read(cut)
    assert (len(ids), said.labels.tolist()) == (3, TOKENS[1:3])
    exact = {**PLAIN, "exact_k": 6, "exact_dtype": "float32", "polynomial_terms": None}
    values = [*np.log([0.5, 0.25]).astype("<f4").tolist(), *[-math.inf] * 4]
    fewer = capture(tmp_path / "fewer", exact, [struct.pack("<6f", *values).hex()] * 3)
    ((_, said),) = read(fewer / "data_0.parquet")
    assert said.counts.tolist() == [2, 3, 2]
    np.testing.assert_allclose(said.tail[[0, 2]], 0.25)


def decode(row: dict[str, Any], told: dict[str, Any]) -> list[dict[int, float]]:
    """What DistillKit's decoder makes of a row whose log-probabilities are all exact and no differences:
    id to log-probability, of each position."""
    assert (told["exact_k"], told["exact_dtype"]) == (told["k"], "float16")
    assert not any(told[name] for name in ("delta_encoding", "polynomial_terms", "residual_bins"))
    width = math.ceil(math.log2(told["d"]))
    found = []
    for values, places in zip(row["compressed_logprobs"], row["bytepacked_indices"], strict=True):
        numbers = struct.unpack(f"<{told['k']}e", bytes(values))
        stream = "".join(f"{byte:08b}" for byte in places)
        ids = [int(stream[i * width : (i + 1) * width], 2) for i in range(told["k"])]
        assert len(set(ids)) == told["k"]
        assert list(numbers) == sorted(numbers, reverse=True)
        found.append(dict(zip(ids, numbers, strict=True)))
    return found


def answers(vocabulary: int = 300) -> list[tuple[np.ndarray, TokenDistributions]]:
    """Two answers with what stands before them."""
    rng = np.random.default_rng(0)
    scores = rng.normal(scale=3, size=(7, vocabulary)).astype(np.float32)
    labels = rng.integers(0, vocabulary, 7)
    return [
        (np.array([5, 6, 7]), top_k(scores[:4], labels[:4], mass=0.95, most=40)),
        (np.array([9]), sampled(scores[4:], labels[4:], draws=12, rng=rng)),
    ]


def test_what_is_written_distillkit_reads(tmp_path: Path) -> None:
    said = answers()
    assert write(tmp_path / "out", said, vocabulary=300, k=16, file_rows=1) == 2
    told = yaml.safe_load((tmp_path / "out" / CONFIG).read_text())
    for number, (before, own) in enumerate(said):
        (row,) = pq.read_table(tmp_path / "out" / f"data_{number}.parquet").to_pylist()
        assert row["input_ids"] == [*before.tolist(), *own.labels.tolist()]
        assert row["labels"] == [UNTRAINED] * len(before) + own.labels.tolist()
        positions = decode(row, told)
        assert len(positions) == len(row["input_ids"]) - 1
        whole = own.dense(300)
        for probs, count, found in zip(
            whole, own.counts, positions[len(before) - 1 :], strict=True
        ):
            kept = np.sort(probs)[::-1][:16]
            np.testing.assert_allclose(
                np.exp(list(found.values())), np.maximum(kept, math.exp(-30)), rtol=0.01
            )
            for place, value in list(found.items())[: min(count, 16)]:
                assert math.exp(value) == pytest.approx(max(probs[place], math.exp(-30)), rel=0.01)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    said = answers()
    write(tmp_path / "out", said, vocabulary=300, k=60)
    for (before, own), (ids, found) in zip(said, read(tmp_path / "out"), strict=True):
        assert ids.tolist() == [*before.tolist(), *own.labels.tolist()]
        again = found.part(len(before) - 1, len(found))
        np.testing.assert_allclose(again.dense(300), own.dense(300), rtol=0.02, atol=1e-6)


def test_writing_refuses(tmp_path: Path) -> None:
    (_, said), *_ = answers()
    with pytest.raises(UserError, match="nothing stands before an answer"):
        write(tmp_path / "out", [(np.array([], int), said)], vocabulary=300)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "data_0.parquet").touch()
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "there", answers(), vocabulary=300)


@pytest.mark.parametrize(
    ("settings", "columns", "complaint"),
    [
        ({"k": 7}, {}, "5 bytes of a token|16 bytes of a token"),
        ({"d": 30}, {}, "bytes of a token"),
        ({"exact_dtype": "float8"}, {}, "float8 is no type"),
        ({"exact_k": 9}, {}, "exact_k <= k"),
        ({"polynomial_terms": ["log"]}, {}, "a term is"),
        ({"residual_bins": [{"scale_dtype": "float16"}]}, {}, "no settings of a capture"),
        ({"exact": 1}, {}, "unknown setting 'exact', did you mean 'exact_k'"),
        ({}, {"input_ids": [[1, 2]]}, "3 distributions of 2 tokens"),
        ({}, {"input_ids": [[1, 2, 3, 50]]}, "beyond the vocabulary"),
        ({}, {"input_ids": [None]}, "an empty row"),
        ({}, {"input_ids": ["text"]}, "no capture"),
        ({}, {"compressed_logprobs": [[[1]] * 3]}, "1 bytes of a token"),
        ({}, {"compressed_logprobs": [[[255] * 16] * 3]}, "without probabilities"),
        ({}, {"bytepacked_indices": [[[0] * 5] * 3]}, "an id twice"),
    ],
)
def test_reading_refuses(
    tmp_path: Path, settings: dict[str, Any], columns: dict[str, Any], complaint: str
) -> None:
    folder = capture(tmp_path / "there", {**PLAIN, **settings}, PLAIN_BYTES, **columns)
    with pytest.raises(UserError, match=complaint):
        list(read(folder))


def test_reading_refuses_what_is_no_capture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        list(read(tmp_path))
    (tmp_path / CONFIG).write_text(yaml.safe_dump(PLAIN))
    with pytest.raises(UserError, match="no parquet files"):
        list(read(tmp_path))
    (tmp_path / "data_0.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no capture"):
        list(read(tmp_path))
    pq.write_table(
        pa.table({"input_ids": [[1]], "packed_indices": [[[1]]]}), tmp_path / "data_0.parquet"
    )
    with pytest.raises(UserError, match="no column compressed_logprobs, bytepacked_indices"):
        list(read(tmp_path))


def test_half_precision_terms_are_rounded_as_they_are_there() -> None:
    told = Compression.of({**PLAIN, "exact_k": 0, "term_dtype": "bfloat16"})
    raw = np.frombuffer(struct.pack("<3H", 0xBF80, 0xBE00, 0x3DCD), np.uint8)[None]
    found = log_probs_of(raw, told)[0]
    assert found == pytest.approx([-1 - i / 8 + 0.1 * math.sqrt(i) for i in range(6)], abs=0.01)
    assert (found.view(np.uint32) & 0xFFFF == 0).all()
    exact = log_probs_of(np.zeros((1, 0), np.uint8), replace(told, polynomial_terms=(), k=0))
    assert exact.shape == (1, 0)
