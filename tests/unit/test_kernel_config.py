"""Config: defaults < file < command line, and every fault in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel_helpers import FakeConfig
from ragdistill import RunConfig, UserError, config


def yaml_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_defaults_give_way_to_the_file_and_the_file_to_the_command_line(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "width: 5\nqueries: 6\n")
    assert config.resolve(FakeConfig, None, {}) == FakeConfig()
    found = config.resolve(FakeConfig, file, {"width": 7})
    assert found == FakeConfig(width=7, queries=6)


@pytest.mark.parametrize(
    "text", ["train-items: 5", "train_items: 5", "train_items: '5'", "---\ntrain-items: 5\n"]
)
def test_dashes_and_underscores_are_one(text: str, tmp_path: Path) -> None:
    assert config.resolve(FakeConfig, yaml_file(tmp_path, text), {}).train_items == 5


FAULTS = {
    "unknown key": ("trian_items: 5", "unknown option 'trian_items', did you mean 'train_items'?"),
    "key like none": ("zzz: 5", "unknown option 'zzz'"),
    "no mapping": ("- width\n- 4\n", "holds no mapping of options to values"),
    "empty": ("", "holds no mapping of options to values"),
    "not YAML": ("width: 4\nlayers: [a\n", "run.yaml:3: is not YAML: expected ',' or ']'"),
    "tab": ("width:\n\t4\n", "run.yaml:2: is not YAML"),
    "not UTF-8": (b"teacher: \xff\n", "cannot be read"),
    "an object": ("width: !!python/object:os.system {}", "run.yaml:1: is not YAML"),
    "text for a number": ("width: wide", "width: 'wide' is not usable: input should be a valid"),
    "list for text": ("teacher: [5]", "input should be a valid string"),
    "below its range": ("width: 0", "width: 0 is not usable: input should be greater than 0"),
    "above its range": ("gate: 1.5", "gate: 1.5 is not usable: input should be less than"),
    "not a number": ("gate: .nan", "gate: nan is not usable"),
    "a fraction": ("seed: 1.5", "seed: 1.5 is not usable"),
    "negative": ("seed: -1", "seed: -1 is not usable"),
    "none of the choices": ("device: tpu", "device: 'tpu' is not usable: input should be 'auto'"),
    "null for a needed one": ("width:", "width: None is not usable"),
    "one key twice": ("train-items: 5\ntrain_items: 6", "'train_items' is given twice"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_in_the_file_is_one_line_that_names_its_place(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    file = yaml_file(tmp_path, text)
    with pytest.raises(UserError) as caught:
        config.resolve(FakeConfig, file, {})
    message = caught.value.format_message()
    assert said in message
    assert message.startswith(str(file))
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        config.resolve(FakeConfig, tmp_path / "none.yaml", {})
    with pytest.raises(UserError, match="cannot be read"):
        config.resolve(FakeConfig, tmp_path, {})


def test_a_fault_on_the_command_line_names_the_option() -> None:
    with pytest.raises(UserError, match=r"^--train-items: 0 is not usable"):
        config.resolve(FakeConfig, None, {"train_items": 0})


def test_what_has_no_default_must_be_given(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Strict(RunConfig):
        pass

    with pytest.raises(UserError, match=r"^--teacher: is needed.*add --teacher MODEL$"):
        config.resolve(Strict, None, {})
    assert config.resolve(Strict, yaml_file(tmp_path, "teacher: T"), {}).teacher == "T"


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "teacher": texts,
            "student": st.none() | texts,
            "width": st.integers(1, 10**9),
            "layers": st.lists(texts, max_size=3).map(tuple),
            "gate": st.none() | st.floats(0, 1, exclude_min=True),
            "seed": st.integers(0, 2**32 - 1),
            "accept_teacher_change": st.booleans(),
        },
    )
)
def test_a_saved_config_gives_the_same_config_back(values: dict[str, Any], tmp_path: Path) -> None:
    made = FakeConfig(**values)
    assert config.resolve(FakeConfig, yaml_file(tmp_path, config.to_yaml(made)), {}) == made


def test_every_option_has_words_and_a_stage() -> None:
    for field in dataclasses.fields(FakeConfig):
        assert field.metadata["help"].endswith(".")
        assert config.affects(FakeConfig, field.name) in (
            "collect",
            "train",
            "evaluate",
            "export",
            "report",
        )
