"""What ``make interop`` calls the same, and what it calls different; Optimum is played by our own runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import interop
from benchmarks.interop_there import tokenise
from sentence_transformers import CrossEncoder

from ragdistill.export.rerankers import export_cross_encoder, export_multi_vector
from ragdistill_reranker.late_interaction import make_late_interaction
from tiny_models import save_tiny, texts
from tiny_scorers import save_cross_encoder

TEXTS = {
    "queries": [*texts(4), "river, sea."],
    "documents": [*texts(7)[1:], ".", "old, high, low."],
}


def cross_encoder(folder: Path) -> None:
    model = CrossEncoder(
        str(save_cross_encoder(folder / "model")),
        device="cpu",
        prompts={"ask": "the city: "},
        default_prompt_name="ask",
    )
    export_cross_encoder(model, folder / "onnx", source_digest="ab")


def multi_vector(folder: Path) -> None:
    model = make_late_interaction(save_tiny(folder / "model", layers=1), 8, texts(9), "cpu")
    export_multi_vector(model, folder / "onnx", source_digest="ab")


@pytest.mark.parametrize(
    ("kind", "export"), [("cross-encoder", cross_encoder), ("multi-vector", multi_vector)]
)
def test_an_export_is_the_same_only_if_its_scores_or_vectors_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, export: Any
) -> None:
    export(tmp_path)
    folder, off = tmp_path / "onnx", 0.0

    def there(place: Path, *words: str) -> None:
        found = {
            f"{what} {output}": values + off
            for what, inputs in tokenise(folder, kind, TEXTS).items()
            for output, values in interop.run(folder, kind, inputs).items()
        }
        np.savez(place / f"there-{kind}.npz", **found)

    monkeypatch.setattr(interop, "there", there)
    assert interop.onnx(tmp_path, TEXTS, kind, folder) < 1e-5
    off = 0.01
    assert interop.onnx(tmp_path, TEXTS, kind, folder) == pytest.approx(0.01, abs=1e-5)
    off = float("nan")
    assert interop.onnx(tmp_path, TEXTS, kind, folder) == float("inf")
