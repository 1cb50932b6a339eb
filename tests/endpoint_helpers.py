"""A real HTTP server on this machine that embeds with a tiny model, and fails when told to."""

import base64
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from ragdistill.encoder import Encoder, load_encoder

MODEL = "tiny"
Fault = Callable[[int], str | None]
"""Number of a request, from 1, to what goes wrong with it."""


def seeded(seed: int, shares: dict[str, float]) -> Fault:
    """Faults at random, as often as ``shares`` says."""

    def fault(number: int) -> str | None:
        drawn, total = random.Random(f"{seed} {number}").random(), 0.0
        for name, share in shares.items():
            total += share
            if drawn < total:
                return name
        return None

    return fault


@dataclass
class Endpoint:
    """What the server is to do, and what it has done."""

    encoder: Encoder
    key: str | None = None
    fault: Fault = lambda number: None
    counts: bool = True
    """Whether it says what it bills."""
    bills: float = 1.0
    """How many tokens for each that its tokenizer makes."""
    encode: Callable[[np.ndarray], Any] = lambda vector: vector.tolist()
    stall: float = 3.0
    hold: threading.Event = field(default_factory=threading.Event)
    """Set when nothing is held back; see ``hold_after``."""
    hold_after: int | None = None
    """Answers after which every further request waits for ``hold``."""
    url: str = ""
    requests: int = 0
    answered: int = 0
    delivered: Counter[str] = field(default_factory=Counter)
    """How often each text was answered well, and the answer was taken."""
    billed: int = 0
    asked_at: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tokens(self, texts: list[str]) -> int:
        return round(self.bills * sum(len(row) for row in self.encoder.tokenise(texts)))


@contextmanager
def serving(model: Path, **options: Any) -> Iterator[Endpoint]:
    """An endpoint for as long as the block lasts."""
    encoder = load_encoder(model, "cpu")
    encoder.max_length = 10**6
    endpoint = Endpoint(encoder, **options)

    class Handler(_Handler):
        served = endpoint

    server = _Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody who hangs up is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Endpoint

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        endpoint = self.served
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.requests += 1
            number = endpoint.requests
            endpoint.asked_at.append(time.monotonic())
            held = endpoint.hold_after is not None and endpoint.answered >= endpoint.hold_after
        if held:
            endpoint.hold.wait(60)
        if endpoint.key is not None:
            given = self.headers.get("Authorization", "")
            if given != f"Bearer {endpoint.key}":
                self._say(401, _error(f"Incorrect API key provided: {given}"))
                return
        if self.path != "/v1/embeddings" or wish["model"] != MODEL:
            self._say(404, _error(f"The model {wish['model']!r} does not exist"))
            return
        self._answer(wish["input"], endpoint.fault(number))

    def _answer(self, texts: list[str], fault: str | None) -> None:
        endpoint = self.served
        if fault and fault.isdigit():
            after = {"Retry-After": "0"} if fault == "429" else {}
            self._say(int(fault), _error("not now"), after)
            return
        if fault == "stall":  # what was read is billed
            with endpoint.lock:
                endpoint.billed += endpoint.tokens(texts)
            time.sleep(endpoint.stall)
            return
        if fault and fault.startswith("wait "):
            self._say(429, _error("slow down"), {"Retry-After": fault.split()[1]})
            return
        with endpoint.lock:
            vectors = endpoint.encoder.encode(texts)
            tokens = endpoint.tokens(texts)
            endpoint.billed += tokens
        body = json.dumps(self._content(texts, vectors, tokens, fault)).encode()
        if fault == "garbage":
            body = b"<html>upstream \xff</html>"
        if fault == "truncated":
            body = body[: len(body) // 2]
        self._say(200, body, cut=fault == "broken")
        if fault is None or fault == "shuffled":
            with endpoint.lock:
                endpoint.answered += 1
                endpoint.delivered.update(texts)

    def _content(
        self, texts: list[str], vectors: np.ndarray, tokens: int, fault: str | None
    ) -> dict[str, Any]:
        if fault == "wide":
            vectors = np.concatenate([vectors, vectors], axis=1)
        rows = [
            {"object": "embedding", "index": place, "embedding": self.served.encode(vector)}
            for place, vector in enumerate(vectors)
        ]
        if fault == "short":
            rows.pop()
        if fault == "twice":
            rows[-1]["index"] = 0 if len(rows) > 1 else 1
        if fault == "nan":
            rows[0]["embedding"] = [float("nan")] * vectors.shape[1]
        if fault == "shuffled":
            random.Random(len(texts)).shuffle(rows)
        content: dict[str, Any] = {"object": "list", "data": rows, "model": MODEL}
        if self.served.counts:
            content["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return content

    def _say(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.wfile.write(body[:-10])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "made", "code": None}}).encode()


def in_base64(vector: np.ndarray) -> str:
    """As servers send it that do not care what they were asked for."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
