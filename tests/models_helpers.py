"""Tiny models, wheels, Hub caches and a Hub, all made in code."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from safetensors.numpy import save_file

from ragdistill.models.aliases import Alias, Wheel

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Norm", "type": "sentence_transformers.models.Normalize"},
]


def make_model(folder: Path, *, seed: int = 0, modules: bool = True) -> Path:
    """A folder with all that a model folder must hold; the weights are 2 x 3 random numbers."""
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)
    save_file({"layer.weight": weights}, folder / "model.safetensors")
    write_json(folder / "config.json", {"model_type": "bert", "hidden_size": 3})
    write_json(folder / "tokenizer.json", {"version": "1.0", "model": {"type": "WordPiece"}})
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    if modules:
        write_json(folder / "modules.json", MODULES)
        (folder / "1_Pooling").mkdir()
        write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def make_wheel(
    folder: Path,
    model: Path,
    extra: Mapping[str, bytes] | None = None,
    *,
    project: str = "tinymodel",
) -> Path:
    """A real wheel ``<project>-1.0`` that carries ``model`` as ``<project>/model``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{project}-1.0-py3-none-any.whl"
    info = f"{project}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{project}/__init__.py", "raise SystemExit('this must never run')\n")
        for file in sorted(model.rglob("*")):
            if file.is_file():
                wheel.write(file, f"{project}/model/{file.relative_to(model).as_posix()}")
        wheel.writestr(f"{project}/model/run.py", "raise SystemExit('nor this')\n")
        for name, content in (extra or {}).items():
            wheel.writestr(name, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def wheel_alias(path: Path, *, name: str = "Tiny", hub: str | None = None) -> Alias:
    """An alias whose wheel is the file ``path`` made by :func:`make_wheel`."""
    project = path.name.partition("-")[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    wheel = Wheel(f"{project}==1.0", digest, folder=f"{project}/model")
    return Alias(name, "embedder", hub=hub, licence="MIT", outputs_may_train="yes", wheel=wheel)


def fill_hub_cache(cache: Path, repo: str, *, ref: str = "main") -> Path:
    """A Hub cache that holds a tiny model as ``repo``; the snapshot folder."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = make_model(root / "snapshots" / COMMIT)
    (root / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(COMMIT)
    return snapshot


@contextmanager
def serve_hub(repos: Mapping[str, Path], gated: str = "") -> Iterator[str]:
    """A Hub on this machine that serves the folders ``repos``; its address."""

    class Handler(_HubHandler):
        folders = repos
        gated_repo = gated

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _HubHandler(BaseHTTPRequestHandler):
    """The four requests of the Hub's interface that a download makes."""

    folders: Mapping[str, Path]
    gated_repo: str

    def log_message(self, *args: object) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        in_api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if in_api else parts[:2])
        rest = parts[4:] if in_api else parts[2:]
        if repo not in self.folders:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)
        elif in_api and rest[:1] == ["tree"]:
            self._send(200, json.dumps(self._tree(repo)).encode(), {}, with_body)
        elif in_api:
            siblings = [{"rfilename": row["path"]} for row in self._tree(repo)]
            body = {"id": repo, "sha": COMMIT, "siblings": siblings}
            self._send(200, json.dumps(body).encode(), {}, with_body)
        elif repo == self.gated_repo:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"}, with_body)
        else:
            content = (self.folders[repo] / "/".join(rest[2:])).read_bytes()
            headers = {
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
            }
            self._send(200, content, headers, with_body)

    def _tree(self, repo: str) -> list[dict[str, object]]:
        folder = self.folders[repo]
        return [
            {
                "type": "file",
                "path": file.relative_to(folder).as_posix(),
                "size": file.stat().st_size,
                "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
            }
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        ]

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
