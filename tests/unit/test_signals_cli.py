"""``ragdistill signals``."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ragdistill.cli.signals import signals
from signals_helpers import DIMENSIONS, fill, fingerprint, keys, space, vectors


def _run(store: Path, command: str, *arguments: str, **named: str) -> Result:
    return CliRunner().invoke(signals, [command, "--store", str(store), *arguments], **named)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two spaces of ten records."""
    folder = tmp_path / "store"
    fill(space(folder), range(10))
    fill(space(folder, prompt="query: ", dtype="float16"), range(10))
    return folder


def _damage(store: Path) -> Path:
    victim = min((store / "vector" / fingerprint().id[:32]).glob("shard-*"))
    victim.write_bytes(victim.read_bytes()[:-1])
    return victim


def test_list(store: Path) -> None:
    told = json.loads(_run(store, "list", "--json").stdout)
    assert sorted(item["dtype"] for item in told) == ["float16", "float32"]
    assert {(item["records"], item["dimensions"]) for item in told} == {(10, DIMENSIONS)}
    assert fingerprint().id[:12] in _run(store, "list").stdout
    nothing = _run(store / "none", "list")
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_verify(store: Path) -> None:
    assert _run(store, "verify").exit_code == 0
    victim = _damage(store)
    found = _run(store, "verify", "--json")
    assert found.exit_code == 2
    assert [fault["where"] for fault in json.loads(found.stdout)["faults"]] == [str(victim)]
    space(store)
    again = _run(store, "verify")
    assert (again.exit_code, "1 damaged shards set aside" in again.stdout) == (0, True)
    assert _run(store, "prune", "--damaged", "--yes").exit_code == 0
    assert "set aside" not in _run(store, "verify").stdout


def test_prune_asks(store: Path) -> None:
    assert _run(store, "prune", "--teacher", "T", input="n\n").exit_code == 1
    assert len(space(store)) == 10
    one = json.loads(
        _run(store, "prune", "--space", fingerprint().id[:8], "--yes", "--json").stdout
    )
    assert one["spaces"] == [fingerprint().id[:32]]
    assert _run(store, "prune", "--teacher", "T", input="y\n").exit_code == 0
    assert json.loads(_run(store, "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to remove"),
        (["--damaged", "--teacher", "T"], "say what to remove"),
        (["--teacher", "t"], "did you mean 'T'"),
        (["--space", "zz"], "no space 'zz'"),
        (["--space", ""], "no space ''"),
    ],
)
def test_prune_refuses(store: Path, arguments: list[str], complaint: str) -> None:
    found = _run(store, "prune", "--yes", *arguments)
    assert (found.exit_code, complaint in found.stderr) == (2, True)
    assert len(space(store)) == 10


def test_a_space_with_a_damaged_description_is_listed_and_can_be_pruned(store: Path) -> None:
    path = store / "vector" / fingerprint().id[:32] / "space.json"
    path.write_text("{")
    assert "damaged" in _run(store, "list").stdout
    assert _run(store, "prune", "--space", path.parent.name, "--yes").exit_code == 0
    assert _run(store, "verify").exit_code == 0


@pytest.mark.parametrize("suffix", ["parquet", "safetensors", "npy"])
def test_export(store: Path, tmp_path: Path, suffix: str) -> None:
    fill(space(store), range(5, 15))  # Five of them a second time.
    out = tmp_path / f"out.{suffix}"
    told = json.loads(_run(store, "export", fingerprint().id[:8], str(out), "--json").stdout)
    assert told["records"] == 15
    found_keys, found = _read(out)
    assert sorted(found_keys) == sorted(keys(range(15)))
    np.testing.assert_array_equal(found, vectors(found_keys))
    assert _run(store, "export", fingerprint().id[:8], str(out)).exit_code == 2
    known = {"out.parquet", "out.safetensors", "out.npy", "out.keys.npy", "store"}
    assert {path.name for path in tmp_path.iterdir()} <= known


def _read(path: Path) -> tuple[list[bytes], np.ndarray]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return table["key"].to_pylist(), np.array(table["vector"].to_pylist(), np.float32)
    if path.suffix == ".npy":
        raw, found = np.load(path.with_suffix(".keys.npy")), np.load(path)
    else:
        from safetensors.numpy import load_file

        tensors = load_file(path)
        raw, found = tensors["keys"], tensors["vectors"]
    return [row.tobytes() for row in raw], found


def test_export_of_float16_keeps_the_type(store: Path, tmp_path: Path) -> None:
    half = fingerprint(prompt="query: ", dtype="float16").id[:8]
    assert _run(store, "export", half, str(tmp_path / "h.npy")).exit_code == 0
    assert _run(store, "export", half, str(tmp_path / "h.parquet")).exit_code == 0
    assert np.load(tmp_path / "h.npy").dtype == np.float16
    np.testing.assert_array_equal(_read(tmp_path / "h.parquet")[1], np.load(tmp_path / "h.npy"))


def test_export_refuses(store: Path, tmp_path: Path) -> None:
    found = _run(store, "export", fingerprint().id[:8], str(tmp_path / "out.csv"))
    assert (found.exit_code, ".parquet" in found.stderr) == (2, True)
    assert _run(store, "export", "", str(tmp_path / "out.npy")).exit_code == 2


def test_the_verb_is_light() -> None:
    code = (
        "import sys, ragdistill.cli.signals, ragdistill.signals;"
        "heavy = {'numpy', 'pyarrow', 'fsspec', 'rich', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
