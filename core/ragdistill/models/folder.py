"""What a model folder must hold, and which of its files play which part."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ragdistill.errors import UserError

_NOT_THE_MODEL = ("onnx", "openvino", "checkpoint-*", "runs", "eval", ".*")
_CONFIGS = (
    "config.json", "modules.json", "router_config.json", "generation_config.json",
    "artifact.metadata",
)  # fmt: skip
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "*.model", "chat_template.jinja",
    "chat_template.json", "sentence_bert_config.json",
)  # fmt: skip
_VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_PICKLE = ("pytorch_model*.bin", "adapter_model.bin", "model*.pt", "pytorch_model*.pt")
_DUPLICATES = "consolidated*.safetensors"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model by the part they play, each list sorted by relative name."""

    weights: tuple[Path, ...]
    pickles: tuple[Path, ...]
    """Pickled weights of folders that have no safetensors."""
    configs: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    pooling: tuple[Path, ...]
    """``modules.json`` and the configurations of the modules after the transformer."""


def classify(path: Path) -> ModelFiles:
    """Sort the files of the model folder ``path`` by the part they play.

    A sentence-transformers folder is read with the folders of its modules, any other at its top
    only; exports (``onnx``, ``openvino``), training checkpoints and hidden folders are no part of
    it, nor is Mistral's second copy of the weights (``consolidated*.safetensors``).
    """
    folders = [path, *(_subfolders(path) if (path / "modules.json").is_file() else ())]
    files = sorted(
        (file for folder in folders for file in folder.iterdir() if file.is_file()),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    weights = [f for f in files if f.suffix == ".safetensors" and not f.match(_DUPLICATES)]
    covered = {file.parent for file in weights}
    pickles = [f for f in files if _matches(f, _PICKLE) and f.parent not in covered]
    configs = [f for f in files if f.name in _CONFIGS]
    return ModelFiles(
        weights=tuple(weights),
        pickles=tuple(pickles),
        configs=tuple(configs),
        tokenizer=tuple(f for f in files if _matches(f, _TOKENIZER)),
        pooling=tuple(
            f for f in configs if f.name == "modules.json" or f.parent not in _encoders(path)
        ),
    )


def check(path: Path, *, allow_pickle: bool = False) -> None:
    """Refuse what cannot be loaded, or only by running code: ``path`` is a folder or a GGUF file.

    Raises:
        UserError: no model, missing configuration, tokenizer or shard, pickled weights only
            (unless ``allow_pickle``), truncated or invalid weights, modules of foreign code.
    """
    if path.is_file():
        check_gguf(path)
        return
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        raise UserError("not a model folder", where=path, mend=_what_it_is(path))
    _check_modules(path)
    for encoder in _encoders(path):
        _check_encoder(encoder)
    files = classify(path)
    _check_pickles(path, files, allow_pickle)
    _check_shards(path)
    for file in files.weights:
        check_safetensors(file)


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file whose header is invalid or does not fit the file's size."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np"):
            pass
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(
            f"truncated or damaged weights ({error})", where=path, mend="fetch the model again"
        ) from error


def check_gguf(path: Path, *, thorough: bool = False) -> None:
    """Refuse a file that is not GGUF; ``thorough`` (some seconds) also one that is cut short."""
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(
                "not a model folder or a GGUF file",
                where=path,
                mend="name a folder with config.json and safetensors weights, or a .gguf file",
            )
    if not thorough:
        return
    import gguf

    try:
        gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise UserError(
            f"truncated or damaged GGUF file ({error})", where=path, mend="fetch the model again"
        ) from error


def read_json(path: Path) -> Any:
    """The content of one of the model's JSON files.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read as JSON ({error})", where=path) from error


def _matches(file: Path, patterns: tuple[str, ...]) -> bool:
    return any(file.match(pattern) for pattern in patterns)


def _subfolders(path: Path) -> Iterator[Path]:
    for child in sorted(path.iterdir()):
        if child.is_dir() and not _matches(child, _NOT_THE_MODEL):
            yield child
            yield from _subfolders(child)


def _modules(path: Path) -> list[dict[str, str]]:
    """The rows of ``modules.json``; for a plain transformers folder, none."""
    listing = path / "modules.json"
    if not listing.is_file():
        return []
    rows = read_json(listing)
    if not isinstance(rows, list) or not all(
        isinstance(row, dict)
        and isinstance(row.get("type"), str)
        and isinstance(row.get("path"), str)
        for row in rows
    ):
        raise UserError("must be a list of modules, each with type and path", where=listing)
    return rows


def _encoders(path: Path) -> list[Path]:
    """The folders that hold a transformer with its tokenizer."""
    rows = _modules(path)
    if not rows:
        return [path]
    return [path / row["path"] for row in rows if row["type"].endswith("Transformer")]


def _check_modules(path: Path) -> None:
    for row in _modules(path):
        place = PurePosixPath(row["path"])
        if place.is_absolute() or ".." in place.parts:
            raise UserError(
                f"module path {row['path']!r} leads out of the folder", where=path / "modules.json"
            )
        if not row["type"].startswith(("sentence_transformers.", "pylate.")):
            raise _foreign_code(path / "modules.json", row["type"])
        if not row["type"].endswith(".Normalize") and not (path / place).is_dir():
            raise UserError(f"lacks the folder of its module {row['type']}", where=path / place)


def _check_encoder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError("the model lacks config.json", where=path, mend="copy the whole model")
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise UserError("must be a JSON object", where=path / "config.json")
    if "auto_map" in config and not _native(config.get("model_type")):
        raise _foreign_code(path / "config.json", str(config.get("model_type")))
    if not any(_matches(file, _VOCABULARY) for file in path.iterdir()):
        raise UserError(
            "the model has no tokenizer",
            where=path,
            mend="save the tokenizer (tokenizer.json) beside the weights",
        )


def _native(model_type: Any) -> bool:
    """Whether transformers knows this architecture without the publisher's code."""
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _foreign_code(where: Path, what: str) -> UserError:
    return UserError(
        f"{what} needs the publisher's own Python code, which ragdistill does not run",
        where=where,
        mend="choose a model that transformers or sentence-transformers loads by itself",
    )


def _check_pickles(path: Path, files: ModelFiles, allow_pickle: bool) -> None:
    if files.pickles and not allow_pickle:
        raise UserError(
            "its weights are pickled, and loading a pickle can run code",
            where=files.pickles[0],
            mend="save the model again as safetensors (save_pretrained does)",
        )
    if not files.weights and not files.pickles:
        raise UserError("the model has no safetensors weights", where=path, mend=_what_it_is(path))


def _check_shards(path: Path) -> None:
    for listing in path.glob("*.safetensors.index.json"):
        named = read_json(listing)
        shards = set(named.get("weight_map", {}).values()) if isinstance(named, dict) else set()
        if absent := sorted(shard for shard in shards if not (path / shard).is_file()):
            raise UserError(
                f"lists {len(absent)} shard(s) that are missing, the first {absent[0]}",
                where=listing,
                mend="fetch the model again",
            )


def _what_it_is(path: Path) -> str:
    """The likeliest reason why ``path`` holds no model that loads, as a mend."""
    if (path / "adapter_config.json").is_file():
        return "it is a PEFT adapter: merge it into its base model and save that"
    if ggufs := sorted(path.glob("*.gguf")):
        return f"name the GGUF file itself, as {ggufs[0]}"
    if (path / "run.json").is_file():
        return f"it is a run folder: name {path / 'student'}"
    return "name a folder with config.json, tokenizer.json and model.safetensors"
