"""What counts as a model folder, and what identifies the model in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models_helpers import MODULES, make_model, write_json
from ragdistill.errors import UserError
from ragdistill.models import aliases, folder, licences
from ragdistill.models.digest import Digests, digests

Change = Callable[[Path], object]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def _bin_only(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def _adapter(path: Path) -> None:
    for name in ("config.json", "modules.json"):
        (path / name).unlink()
    write_json(path / "adapter_config.json", {})


def _pickled_module(path: Path) -> None:
    (path / "2_Dense").mkdir()
    (path / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")


def _module(**values: str) -> Change:
    return lambda path: write_json(path / "modules.json", [MODULES[0] | values])


FAULTS: dict[str, tuple[Change, str]] = {
    "empty": (lambda p: [shutil.rmtree(p), p.mkdir()], "not a model folder"),
    "no config": (lambda p: (p / "config.json").unlink(), "lacks config.json"),
    "broken config": (lambda p: (p / "config.json").write_text("{"), "cannot be read as JSON"),
    "config no object": (lambda p: (p / "config.json").write_text("[]"), "must be a JSON object"),
    "no tokenizer": (lambda p: (p / "tokenizer.json").unlink(), "no tokenizer"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "no safetensors weights"),
    "pickle only": (_bin_only, "its weights are pickled"),
    "pickled module": (_pickled_module, "its weights are pickled"),
    "truncated": (lambda p: _truncate(p / "model.safetensors"), "truncated or damaged"),
    "not safetensors": (
        lambda p: (p / "model.safetensors").write_bytes(b"\x80\x04pickle"),
        "truncated or damaged",
    ),
    "git-lfs pointer": (
        lambda p: (p / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        "truncated or damaged",
    ),
    "missing shard": (
        lambda p: write_json(
            p / "model.safetensors.index.json", {"weight_map": {"a": "model-2.safetensors"}}
        ),
        "1 shard(s) that are missing, the first model-2.safetensors",
    ),
    "module climbs out": (_module(path="../else"), "leads out of the folder"),
    "module missing": (
        _module(path="1_Gone", type="sentence_transformers.models.Dense"),
        "lacks the folder of its module",
    ),
    "foreign module": (_module(type="custom_st.Transformer"), "publisher's own Python code"),
    "modules no list": (lambda p: (p / "modules.json").write_text("{}"), "must be a list"),
    "foreign architecture": (
        lambda p: write_json(p / "config.json", {"model_type": "zzz", "auto_map": {}}),
        "zzz needs the publisher's own Python code",
    ),
    "adapter": (_adapter, "merge it into its base model"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_folders_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    change, says = FAULTS[case]
    model = make_model(tmp_path / "model")
    change(model)
    with pytest.raises(UserError) as caught:
        folder.check(model)
    assert says in caught.value.message
    assert str(model) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("modules", [True, False])
def test_sound_folders_pass(tmp_path: Path, modules: bool) -> None:
    folder.check(make_model(tmp_path / "model", modules=modules))


def test_pickles_pass_only_when_allowed_and_are_then_part_of_the_digest(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    before = digests(model)
    _bin_only(model)
    folder.check(model, allow_pickle=True)
    assert digests(model).weights != before.weights


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04"])
def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a model folder or a GGUF file"):
        folder.check(path)


def test_a_folder_saved_by_sentence_transformers_passes(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    base = tmp_path / "base"
    PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(base)
    tiny = BertConfig(
        vocab_size=2, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    BertModel(tiny).save_pretrained(base)
    folder.check(base)
    encoder = Transformer(str(base))
    saved = tmp_path / "saved"
    SentenceTransformer(modules=[encoder, Pooling(4), Normalize()], device="cpu").save(str(saved))
    folder.check(saved)
    names = {file.relative_to(saved).as_posix() for file in folder.classify(saved).configs}
    assert {"config.json", "modules.json", "1_Pooling/config.json"} <= names


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "card": (lambda p: (p / "README.md").write_text("# Other"), set()),
    "prompts": (lambda p: write_json(p / "config_sentence_transformers.json", {}), set()),
    "export": (lambda p: make_model(p / "onnx"), set()),
    "checkpoint": (lambda p: make_model(p / "checkpoint-10"), set()),
    "weights": (
        lambda p: save_file({"layer.weight": np.ones((2, 3), "f4")}, p / "model.safetensors"),
        {"weights"},
    ),
    "new shard": (
        lambda p: save_file({"b": np.ones(1, "f4")}, p / "extra.safetensors"),
        {"weights"},
    ),
    "config": (lambda p: write_json(p / "config.json", {"model_type": "bert"}), {"weights"}),
    "tokenizer": (lambda p: write_json(p / "tokenizer.json", {}), {"tokenizer"}),
    "length limit": (lambda p: write_json(p / "sentence_bert_config.json", {}), {"tokenizer"}),
    "pooling": (
        lambda p: write_json(p / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True}),
        {"weights", "pooling"},
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_digest_changes_with_what_it_covers_and_with_nothing_else(
    tmp_path: Path, case: str
) -> None:
    change, parts = CHANGES[case]
    model = make_model(tmp_path / "model")
    before = digests(model)
    change(model)
    after = digests(model)
    names = Digests.__dataclass_fields__
    assert {part for part in names if getattr(before, part) != getattr(after, part)} == parts


def test_digests_do_not_depend_on_the_place(tmp_path: Path) -> None:
    assert digests(make_model(tmp_path / "a")) == digests(make_model(tmp_path / "b" / "c"))
    assert digests(make_model(tmp_path / "d", seed=1)) != digests(tmp_path / "a")


@pytest.mark.parametrize(
    ("card", "name", "may_train"),
    [
        ("---\nlicense: mit\n---\n", "MIT", "yes"),
        ("---\nlicense: other\nlicense_name: mrl\n---\n", "mrl", "unknown"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "CC-BY-NC-4.0", "unknown"),
        ("---\nlicense: [\n---\n", None, "unknown"),
        ("no front matter", None, "unknown"),
        ("---\nnever closed", None, "unknown"),
    ],
)
def test_licence_of_a_card(tmp_path: Path, card: str, name: str | None, may_train: str) -> None:
    (tmp_path / "README.md").write_text(card)
    licence = licences.licence_of(None, tmp_path)
    assert (licence.name, licence.outputs_may_train) == (name, may_train)
    assert ("unknown" in licence.sentence()) == (may_train == "unknown")


def test_the_alias_overrules_the_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    alias = aliases.Alias(
        "x", "embedder", hub="a/b", licence="Terms", outputs_may_train="no", terms="for tests"
    )
    sentence = licences.licence_of(alias, tmp_path).sentence()
    assert sentence == "Terms: its outputs may not train another model (for tests)"
