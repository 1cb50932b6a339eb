"""Bad input: one clear line (what, where, how to mend), exit status 2, nothing written or lost."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_input_cases import CASES
from bad_input_scenes import BASE, Scene, good_data
from bad_input_table import Case
from ragdistill.signals.store import SignalStore
from tiny_models import save_tiny

_CHATTER = re.compile(r"(collect|train|evaluate) (\(|done)|\d+ faults: |$")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher, made once."""
    return save_tiny(tmp_path_factory.mktemp("tiny") / "teacher")


@pytest.fixture
def scene(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A good scene, and a Hub where nobody listens."""
    from huggingface_hub import constants

    # What HF_HUB_DISABLE_PROGRESS_BARS does, which is read when transformers is imported.
    monkeypatch.setattr("transformers.utils.logging._tqdm_active", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    address = "http://127.0.0.1:9"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("RAGDISTILL_HOME", "home")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, tmp_path / "teacher")
    good_data(tmp_path / "data")
    with ExitStack() as last:
        yield Scene(tmp_path, monkeypatch, last)


def test_the_scene_is_good(scene: Scene) -> None:
    scene.good("data check data")
    scene.good("models verify teacher")
    scene.good(f"{BASE} --dry-run")
    assert not (scene.folder / "run").exists()
    assert not (scene.folder / "store").exists()


def test_there_are_enough_cases() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 45


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, scene: Scene) -> None:
    case.spoil(scene)
    before = scene.files()
    spaces = [path.parent.name for path in scene.folder.glob("store/vector/*/space.json")]
    said = complaints(scene.run(case.arguments.replace("SPACE", "".join(spaces))))
    assert len(said) == 1, said
    assert not [word for word in case.words if word not in said[0]], said[0]
    after = scene.files()
    assert {name: after.get(name) for name in before} == before
    new = after.keys() - before.keys()
    assert not {name for name in new if not name.startswith(case.leaves or "/")}
    assert not {name for name in new if name.endswith(".tmp")}


@pytest.mark.parametrize(
    "case", [c for c in CASES if "run" in c.leaves], ids=lambda case: case.name
)
def test_what_broke_off_goes_on_when_it_is_mended(case: Case, scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as until_mended:
        case.spoil(replace(scene, monkeypatch=until_mended))
        complaints(scene.run(case.arguments))
    stages = json.loads((scene.folder / "run/run.json").read_text())["stages"]
    assert [stage["state"] for stage in stages.values()][-1] in ("failed", "done")
    if case.name == "nan":
        shutil.rmtree(scene.folder / "teacher")
        save_tiny(scene.folder / "teacher", seed=1)
        assert "--out" in complaints(scene.run(f"{case.arguments} --accept-teacher-change"))[0]
    else:
        scene.good(case.arguments)
    assert SignalStore(scene.folder / "store").verify() == []


def complaints(result: Result) -> list[str]:
    """What a command said that must have failed with exit status 2, but for the stages it began."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 2, result.output
    return [line for line in result.output.splitlines() if not _CHATTER.match(line)]


_WORDS = st.text('{}[]":,-#&*!|>%@\\ \t\r\n019.eE_idtextqlrné\x85\u2028\ud800', max_size=80)
_PIECES = st.sampled_from(
    ['{"_id": "d1", "text": "a bird"}\n', '{"_id": "q1", "text": ', "q1\td1\t1\n", "seed: ", "lr: "]
)
_KEYS = st.from_regex(
    r"_id|te(xt|acher|achers)|query|positive|type|path|model_type|auto_map|schema|id|fingerprint"
    r"|codec|component|quality|verdict|stages|seed|lr",
    fullmatch=True,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.text("a/.é", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=12,
)
GARBAGE = st.one_of(
    st.binary(max_size=80),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(_WORDS | _PIECES, max_size=8).map(
        lambda parts: "".join(parts).encode("utf-8", "surrogatepass")
    ),
)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("data/corpus.jsonl", "data check data"),
        ("data/queries.jsonl", "data check data"),
        ("data/qrels/test.tsv", "data show data"),
        ("pairs.csv", "data show pairs.csv"),
        ("config.yaml", "embedder --teacher nobody --data data --out run --config config.yaml"),
        ("run/report.json", "report show run"),
        ("figures.yaml", "rag cost --figures figures.yaml"),
        ("prices.yaml", "rag cost --prices prices.yaml"),
        ("outcomes.jsonl", "rag watch outcomes.jsonl"),
        ("state.json", "rag watch pairs.csv --state state.json"),
        (f"store/vector/{'0' * 32}/space.json", "signals verify --store store"),
        ("teacher/modules.json", "models verify teacher"),
        ("teacher/config.json", "models verify teacher"),
    ],
)
@given(content=GARBAGE)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_garbage(path: str, arguments: str, scene: Scene, content: bytes) -> None:
    scene.write(path, content)
    before = scene.files()
    result = scene.run(arguments)
    if result.exit_code != 0:
        assert complaints(result)
    assert scene.files() == before
