"""Aliases: the built-in tables, and what a plugin's own file may and may not say."""

import importlib
import subprocess
import sys
from pathlib import Path

import pluggy
import pytest

from ragdistill import hookspecs
from ragdistill.errors import UserError
from ragdistill.models import aliases
from ragdistill.models.licences import _PERMISSIVE

PLUGINS = Path(__file__).parents[2] / "plugins"
TABLES = sorted(PLUGINS.glob("*/*/models.toml"))
NAMES = [
    "Qwen3-Embedding-8B",
    "Qwen3-Embedding-0.6B",
    "bge-m3",
    "jina-embeddings-v3",
    "NV-Embed-v2",
    "bge-large-en-v1.5",
    "bge-base-en-v1.5",
    "bge-small-en-v1.5",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "snowflake-arctic-embed-m-v1.5",
    "MiniLM",
    "all-MiniLM-L6-v2",
    "MiniLM-L12",
    "mpnet",
    "all-mpnet-base-v2",
    "bge-small",
    "bge-base",
    "Multilingual-MiniLM-L12-H384",
    "bge-reranker-v2-m3",
    "bge-reranker-large",
    "bge-reranker-base",
    "mxbai-rerank-large-v1",
    "mxbai-rerank-base-v1",
    "ms-marco-MiniLM-L-12-v2",
    "ms-marco-MiniLM-L-6-v2",
    "colbertv2.0",
    "Qwen3-30B-A3B",
    "Qwen3-32B",
    "Qwen3-8B",
    "Qwen3-0.6B",
    "Llama-3.1-70B-Instruct",
    "Llama-3.1-8B-Instruct",
    "Mistral-Large-2",
    "Mistral-7B-Instruct-v0.3",
    "SmolLM3-3B",
    "SmolLM2-135M-Instruct",
    "SmolLM2-360M-Instruct",
    "Phi-4-mini-instruct",
    "gemma-2-9b-it",
    "flan-t5-small",
    "flan-t5-base",
    "t5-small",
]


@pytest.fixture(scope="module")
def built_in() -> dict[str, aliases.Alias]:
    return aliases.load_all(TABLES)


@pytest.mark.parametrize("name", NAMES)
def test_every_promised_name_is_known_whatever_its_case(
    name: str, built_in: dict[str, aliases.Alias]
) -> None:
    found = aliases.find(name, built_in)
    assert found is not None
    assert aliases.find(name.upper(), built_in) is found
    assert found.hub is None or aliases.find(found.hub, built_in) is found


def test_embedders_say_what_an_embedder_needs(built_in: dict[str, aliases.Alias]) -> None:
    embedders = [alias for alias in built_in.values() if alias.kind == "embedder"]
    assert len(embedders) == 15
    assert all(alias.dimensions for alias in embedders)
    without_prompt = {alias.name for alias in embedders if alias.query_prompt is None}
    assert without_prompt == {"Multilingual-MiniLM-L12-H384"}  # a bare encoder: nothing is known


def test_what_may_train_is_permissive_or_explained(built_in: dict[str, aliases.Alias]) -> None:
    for alias in built_in.values():
        assert alias.licence, alias.name
        if alias.licence not in _PERMISSIVE:
            assert alias.terms, alias.name
        else:
            assert alias.outputs_may_train == "yes", alias.name


@pytest.mark.parametrize("component", ["embedder", "reranker", "generator", "query_rewriter"])
def test_each_built_in_plugin_brings_its_table_through_the_hook(component: str) -> None:
    pm = pluggy.PluginManager("ragdistill")
    pm.add_hookspecs(hookspecs)
    pm.register(importlib.import_module(f"ragdistill_{component}.plugin"))
    pm.check_pending()
    (paths,) = pm.hook.ragdistill_models()
    assert list(paths) == [PLUGINS / component / f"ragdistill_{component}" / "models.toml"]


def test_alias_modules_import_nothing_heavy() -> None:
    code = (
        "import sys, ragdistill.models.aliases, ragdistill.cli.models, ragdistill_reranker.plugin\n"
        "heavy = {'torch', 'numpy', 'transformers', 'huggingface_hub', 'yaml', 'gguf', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_duplicate_names_are_refused_naming_both_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('[[model]]\nname = "one"\nalso = ["Two"]\nkind = "embedder"\nhub = "a/b"\n')
    second.write_text('[[model]]\nname = "tWO"\nkind = "embedder"\nhub = "a/c"\n')
    with pytest.raises(UserError, match="already taken") as caught:
        aliases.load_all([first, second])
    assert str(first) in caught.value.message
    assert str(second) in caught.value.message


GOOD = 'name = "x"\nkind = "embedder"\nhub = "a/b"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[model]\n", "not a TOML file"),
        ("[models]\n", "unexpected entry models"),
        ("model = 3\n", "unexpected entry model"),
        ("model = [3]\n", "must be a table"),
        ("[[model]]\nkind = 'embedder'\n", "lacks name"),
        ("[[model]]\nname = 'x'\n", "lacks kind"),
        ("[[model]]\nname = 'x'\nkind = 'embedder'\n", "one of hub, api and wheel"),
        ("[[model]]\nname = 'x'\nkind = 'embeder'\nhub = 'a/b'\n", "must be one of embedder"),
        (f"[[model]]\n{GOOD}dimension = 3\n", "did you mean 'dimensions'"),
        (f"[[model]]\n{GOOD}dimensions = '3'\n", "dimensions must be of type int"),
        (f"[[model]]\n{GOOD}dimensions = true\n", "dimensions must be of type int"),
        (f"[[model]]\n{GOOD}also = ['../up']\n", "letters, digits"),
        (f"[[model]]\n{GOOD}outputs_may_train = 'perhaps'\n", "must be one of yes, no, unknown"),
        (f"[[model]]\n{GOOD}[model.wheel]\nrequirement = 'x==1'\n", "lacks sha256"),
        (
            f"[[model]]\n{GOOD}[model.wheel]\nrequirement = 'x>=1'\nsha256 = '{'0' * 64}'\n",
            "must be NAME==VERSION",
        ),
        (
            f"[[model]]\n{GOOD}[model.wheel]\nrequirement = 'x==1'\nsha256 = '{'0' * 64}'\n",
            "exactly one of folder and file",
        ),
        (
            f"[[model]]\n{GOOD}[model.wheel]\nrequirement = 'x==1'\nsha256 = '1'\nfolder = 'x'\n",
            "64 lower-case hexadecimal",
        ),
    ],
)
def test_faulty_tables_are_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"models.toml") as caught:
        aliases.load_all([path])
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_an_alias_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.toml"):
        aliases.load_all([tmp_path / "nowhere.toml"])
