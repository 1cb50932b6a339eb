"""An export folder: written whole or not at all, with a record of what is in it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ragdistill.errors import UserError
from ragdistill.files import write_json

GRAPH = "model.onnx"
"""The graph's file name, as Optimum expects it."""

WEIGHTS = "model.onnx_data"
"""Where weights of 2 GB and more lie, beside the graph."""

RECORD = "ragdistill.json"
"""The file beside the graph that says how to run it."""

SCHEMA = 1


@dataclass(frozen=True)
class EmbedderRecord:
    """What a runtime must know beside the graph and the tokenizer."""

    max_seq_length: int
    """Tokens after which a text is cut, special tokens included."""
    dimensions: int
    """Width of ``sentence_embedding``."""
    pad_token_id: int
    lower_case: bool
    """Whether texts are lower-cased before the tokenizer sees them."""
    normalised: bool
    """Whether the graph itself scales vectors to length 1."""
    pooling: str
    source_digest: str
    """SHA-256 of the weights the graph was made from."""
    precision: str = "fp32"
    prompts: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the record into ``folder``."""
        write_json(folder / RECORD, {"schema": SCHEMA, **asdict(self)})


def read_record(folder: Path) -> EmbedderRecord:
    """The record of an export folder.

    Raises:
        UserError: there is none, it is damaged, or a newer ragdistill wrote it.
    """
    path = folder / RECORD
    mend = "export the model again"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values.pop("schema")
        known = {item.name for item in fields(EmbedderRecord)}
        if schema == SCHEMA:
            return EmbedderRecord(**{key: values[key] for key in known if key in values})
    except FileNotFoundError:
        raise UserError("not an exported embedder", where=path, mend=mend) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"damaged ({error})", where=path, mend=mend) from error
    raise UserError(
        f"schema {schema}, this ragdistill reads {SCHEMA}", where=path, mend="upgrade ragdistill"
    )


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_config(config: Any, folder: Path, **changed: Any) -> None:
    """``config.json`` of a transformers model, without the place on this machine that it was loaded
    from, and with some values ``changed``."""
    values = json.loads(config.to_json_string(use_diff=True)) | changed
    values.pop("_name_or_path", None)
    text = json.dumps(values, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files; a class that only transformers 5 knows gets its older name, which
    transformers 4, and so Optimum, knows as well."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    text = path.read_text(encoding="utf-8")
    text = text.replace('"TokenizersBackend"', '"PreTrainedTokenizerFast"')
    path.write_text(text, encoding="utf-8")
