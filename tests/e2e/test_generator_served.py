"""A student is served: a chat about retrieved texts, asked over HTTP, answered by what was exported."""

from pathlib import Path

import httpx2
import pytest

from chat_server import chatting
from endpoint_helpers import MODEL
from ragdistill import causal
from ragdistill.export.causal import ctranslate, graph, source
from ragdistill.export.causal.forms import load
from ragdistill.export.int8 import quantise
from tiny_models import texts
from tiny_writers import save_writer

pytestmark = pytest.mark.e2e

MESSAGES = [
    {"role": "system", "content": "Answer from the context only."},
    {"role": "user", "content": "\n\n".join([*texts(6), "where is the river?"])},
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_writer(tmp_path_factory.mktemp("served") / "student")


@pytest.fixture(scope="module")
def exports(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports")
    ctranslate.write(student, out / "ctranslate2", "float32", source_digest="ab")
    ctranslate.write(student, out / "ctranslate2-int8", "int8", source_digest="ab")
    graph.write(student, out / "onnx", source_digest="ab")
    quantise(out / "onnx", out / "onnx-int8")
    return out


@pytest.mark.parametrize("kind", ["ctranslate2", "ctranslate2-int8", "onnx", "onnx-int8"])
def test_a_rag_prompt_is_answered_by_the_student(kind, student, exports) -> None:
    wish = {"model": MODEL, "messages": MESSAGES, "max_tokens": 12}
    with chatting(exports / kind) as endpoint:
        response = httpx2.post(f"{endpoint.url}/chat/completions", json=wish, timeout=60)
    assert response.status_code == 200
    (choice,) = response.json()["choices"]
    model = source.load(student)
    prompt = causal.token_ids(model.tokenizer, causal.as_chat(model.tokenizer, MESSAGES))
    assert response.json()["usage"]["prompt_tokens"] == len(prompt)
    assert choice["finish_reason"] == "length"
    # int8 has its own last bits; what it is served as is what it writes on its own
    writer = model if "int8" not in kind else load(exports / kind, threads=1)
    (reply,) = writer.generate([prompt], 12)
    expected = model.tokenizer.decode(reply, skip_special_tokens=True)
    assert choice["message"]["content"] == expected
    assert expected.strip()
