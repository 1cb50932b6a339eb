"""What identifies a model: digests of its weights, its tokenizer and its pooling, not its name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ragdistill.files import sha256_file, sha256_json
from ragdistill.models.folder import classify


@dataclass(frozen=True, slots=True)
class Digests:
    """Three hexadecimal SHA-256; each is of the canonical JSON of sorted ``[name, sha256]`` pairs,
    ``name`` relative to the model folder with ``/`` between its parts.

    ``weights`` covers the weight files and every configuration that changes the function they
    compute: ``config.json`` and ``generation_config.json``, ``modules.json``,
    ``router_config.json``, and the ``config.json`` of pooling, dense and all other modules.
    ``tokenizer`` covers the vocabulary, its settings and chat template, and
    ``sentence_bert_config.json`` (lower-casing and length limit). ``pooling`` covers
    ``modules.json`` and the configurations of the modules after the transformer.

    Prompts (``config_sentence_transformers.json``), cards and exports belong to none of them. Of a
    GGUF file, which holds everything, ``weights`` and ``tokenizer`` are the SHA-256 of the file.
    """

    weights: str
    tokenizer: str
    pooling: str


def digests(path: Path) -> Digests:
    """The digests of the model folder or GGUF file ``path``; reads every byte of its weights."""
    if path.is_file():
        whole = sha256_file(path)
        return Digests(weights=whole, tokenizer=whole, pooling=_combined({}))
    files = classify(path)
    hashed = {
        file.relative_to(path).as_posix(): sha256_file(file)
        for file in (*files.weights, *files.pickles, *files.configs, *files.tokenizer)
    }

    def of(members: Iterable[Path]) -> str:
        names = [file.relative_to(path).as_posix() for file in members]
        return _combined({name: hashed[name] for name in names})

    return Digests(
        weights=of((*files.weights, *files.pickles, *files.configs)),
        tokenizer=of(files.tokenizer),
        pooling=of(files.pooling),
    )


def folder_digest(path: Path) -> str:
    """Of every file in an export's folder, read whole, as those of :class:`Digests` are made."""
    return _combined(
        {
            file.relative_to(path).as_posix(): sha256_file(file)
            for file in path.rglob("*")
            if file.is_file()
        }
    )


def _combined(hashed: dict[str, str]) -> str:
    return sha256_json(sorted(hashed.items()))
