"""An export folder: written whole or not at all, with a record of what is in it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

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
class Record:
    """What a runtime must know beside the graph and the tokenizer."""

    kind: ClassVar[str]
    """What it is a record of; a record that does not say is an embedder's."""

    def write(self, folder: Path) -> None:
        """Write the record into ``folder``."""
        write_json(folder / RECORD, {"schema": SCHEMA, "kind": self.kind, **asdict(self)})

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """The record that was written as ``values``; what a later version added is passed over."""
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class EmbedderRecord(Record):
    """Of a graph that makes a vector of a text, or of a table that does."""

    kind = "embedder"
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


@dataclass(frozen=True)
class CrossEncoderRecord(Record):
    """Of a graph that makes a score of a pair of texts."""

    kind = "cross-encoder"
    max_seq_length: int
    """Tokens after which a pair is cut, special tokens included, the longer text first."""
    pad_token_id: int
    source_digest: str
    """SHA-256 of the weights the graph was made from."""
    precision: str = "fp32"
    prompt: str = ""
    """What goes before the query."""


@dataclass(frozen=True)
class Side:
    """How the texts of one side, queries or documents, become tokens, and which of those count."""

    max_seq_length: int
    """Tokens after which a text is cut, special tokens included."""
    prompt: str = ""
    """What goes before each text."""
    dropped: tuple[int, ...] = ()
    """Token ids, ascending, whose vectors do not count."""
    expanded_to: int = 0
    """Tokens that a text is filled up to; those that fill it count."""
    expansion_token_id: int = 0
    attends_to_expansion: bool = False
    """Whether the other tokens see those that fill a text up."""


@dataclass(frozen=True)
class MultiVectorRecord(Record):
    """Of a graph that makes a vector of each token of a text."""

    kind = "multi-vector"
    dimensions: int
    """Width of ``token_embeddings``."""
    pad_token_id: int
    source_digest: str
    """SHA-256 of the weights the graph was made from."""
    queries: Side
    documents: Side
    similarity: str = "maxsim"
    """How a score is made of the vectors of a query and a document: beside the graph, for a
    document's are made once."""
    precision: str = "fp32"

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See :class:`Record`."""
        sides = {
            side: Side(**{**values[side], "dropped": tuple(values[side]["dropped"])})
            for side in ("queries", "documents")
        }
        return super().of({**values, **sides})


@dataclass(frozen=True)
class CausalRecord(Record):
    """Of a causal language model, whatever runs it."""

    kind = "causal"
    window: int
    """Tokens that a prompt and its reply may have together."""
    end_ids: tuple[int, ...]
    """The tokens that end a reply; none where nothing does."""
    source_digest: str
    """SHA-256 of the weights it was made from."""
    precision: str = "fp32"
    words: int | None = None
    """How many ids have a token, from 0; others, with which a head was padded, are never written. None for
    all."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See :class:`Record`."""
        return super().of({**values, "end_ids": tuple(values["end_ids"])})


@dataclass(frozen=True)
class TokenClassifierRecord(Record):
    """Of a graph that makes logits of each token of a text."""

    kind = "token-classifier"
    max_seq_length: int
    """Tokens that it has positions for."""
    pad_token_id: int
    labels: tuple[str, ...]
    source_digest: str
    """SHA-256 of the weights the graph was made from."""
    precision: str = "fp32"

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See :class:`Record`."""
        return super().of({**values, "labels": tuple(values["labels"])})


@dataclass(frozen=True)
class Seq2SeqRecord(Record):
    """Of an encoder-decoder, whatever runs it."""

    kind = "seq2seq"
    end_ids: tuple[int, ...]
    """The tokens that end a reply; none where nothing does."""
    source_digest: str
    """SHA-256 of the weights it was made from."""
    precision: str = "fp32"
    words: int | None = None
    """See :class:`CausalRecord`."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """See :class:`Record`."""
        return super().of({**values, "end_ids": tuple(values["end_ids"])})


AnyRecord = (
    EmbedderRecord
    | CrossEncoderRecord
    | MultiVectorRecord
    | CausalRecord
    | TokenClassifierRecord
    | Seq2SeqRecord
)
_KINDS: dict[str, type[AnyRecord]] = {
    kind.kind: kind
    for kind in (
        EmbedderRecord,
        CrossEncoderRecord,
        MultiVectorRecord,
        CausalRecord,
        TokenClassifierRecord,
        Seq2SeqRecord,
    )
}
_R = TypeVar("_R", bound=Record)


def read_record(folder: Path) -> EmbedderRecord:
    """The record of an exported embedder.

    Raises:
        UserError: there is none, it is damaged, of another kind, or a newer ragdistill wrote it.
    """
    return read_record_of(EmbedderRecord, folder)


def read_record_of(kind: type[_R], folder: Path) -> _R:
    """The record of an export of one kind; errors as of :func:`read_record`."""
    record = read_any_record(folder, kind.kind)
    if isinstance(record, kind):
        return record
    raise UserError(
        f"the record of an exported {record.kind}, not of an exported {kind.kind}",
        where=folder / RECORD,
        mend="give the folder of another export",
    )


def read_any_record(folder: Path, expected: str = "model") -> AnyRecord:
    """The record of an export folder, whatever was exported; errors as of :func:`read_record`.

    Args:
        folder: where from.
        expected: what an error says should be there.
    """
    path = folder / RECORD
    mend = "export the model again"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values.pop("schema")
        if schema == SCHEMA:
            return _KINDS[values.pop("kind", EmbedderRecord.kind)].of(values)
    except FileNotFoundError:
        raise UserError(f"not an exported {expected}", where=path, mend=mend) from None
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
