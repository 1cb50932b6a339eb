"""A static student as it is served: a table of token vectors and a tokenizer, read by NumPy alone.

The folder is laid out as Model2Vec writes its own: ``embeddings`` in ``model.safetensors``, beside
``tokenizer.json`` and ``config.json``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from ragdistill.errors import UserError
from ragdistill.export.folder import EmbedderRecord, atomic_folder, read_record
from ragdistill.export.running import load_tokenizer
from ragdistill.export.runtime import OnnxEmbedder, Vectors
from ragdistill.export.words import WordIds
from ragdistill.files import write_json

TABLE, _KEY = "model.safetensors", "embeddings"
POOLING = "static"
_TINY = float(np.finfo(np.float32).tiny)


def export_static(
    table: npt.NDArray[np.float32],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    max_length: int,
    prompts: dict[str, str],
    source_digest: str,
) -> None:
    """Write token vectors ``[v, d]``, kept as float16, into ``folder``; an existing one is replaced.

    Args:
        table: the vector of each token; a text's is the mean of its tokens', scaled to length 1.
        tokenizer: what cuts texts into those tokens.
        folder: where to.
        max_length: tokens after which a text is cut.
        prompts: what goes before queries and documents.
        source_digest: SHA-256 of the weights it was made from.
    """
    record = EmbedderRecord(
        max_seq_length=max_length,
        dimensions=table.shape[1],
        pad_token_id=0,
        lower_case=False,
        normalised=True,
        pooling=POOLING,
        source_digest=source_digest,
        precision="fp16",
        prompts=prompts,
    )
    with atomic_folder(folder) as temporary:
        save_file({_KEY: table.astype(np.float16)}, str(temporary / TABLE))
        tokenizer.save(str(temporary / "tokenizer.json"))
        write_json(temporary / "config.json", {"model_type": "model2vec", "normalize": True})
        record.write(temporary)


class StaticEmbedder:
    """Texts to vectors by a table of token vectors."""

    def __init__(self, folder: Path) -> None:
        """Load ``folder``.

        Raises:
            UserError: it is not a whole export.
        """
        self.record: EmbedderRecord = read_record(folder)
        self._ids = WordIds(
            load_tokenizer(folder, self.record.max_seq_length), self.record.max_seq_length
        )
        try:
            self._table = load_file(str(folder / TABLE))[_KEY].astype(np.float32)
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(
                f"damaged ({error})", where=folder / TABLE, mend="export the model again"
            ) from error

    def encode(self, texts: Sequence[str], *, prompt: str = "", normalize: bool = False) -> Vectors:
        """Unit vectors ``[n, d]`` float32 of ``texts``, in their order; zeros for a text without a
        token. ``normalize`` is there for the sake of other runtimes."""
        prompted = [prompt + text for text in texts] if prompt else list(texts)
        vectors = np.zeros((len(prompted), self.record.dimensions), dtype=np.float32)
        for row, ids in enumerate(self._ids(prompted)):
            if ids:  # their sum does: the length is taken away
                np.add.reduce(self._table[ids], axis=0, out=vectors[row])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
        return vectors


def load_embedder(folder: Path) -> OnnxEmbedder | StaticEmbedder:
    """The exported embedder in ``folder``, whatever runs it.

    Raises:
        UserError: ``folder`` is not a whole export.
    """
    if read_record(folder).pooling == POOLING:
        return StaticEmbedder(folder)
    return OnnxEmbedder(folder)
