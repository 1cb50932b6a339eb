"""A real HTTP server on this machine that embeds with a tiny model, or does what a subclass of ``Served``
does, and fails when told to."""

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
from typing import Any, ClassVar

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


@dataclass(kw_only=True)
class Served:
    """What a server is to do, and what it has done."""

    key: str | None = None
    fault: Fault = lambda number: None
    counts: bool = True
    """Whether it says what it bills."""
    bills: float = 1.0
    """How many tokens for each that it counts."""
    stall: float = 3.0
    hold: threading.Event = field(default_factory=threading.Event)
    """Set when nothing is held back; see ``hold_after``."""
    hold_after: int | None = None
    """Answers after which every further request waits for ``hold``."""
    url: str = ""
    requests: int = 0
    answered: int = 0
    delivered: Counter[Any] = field(default_factory=Counter)
    """How often each thing that was asked about was answered well, and the answer was taken."""
    billed: int = 0
    asked_at: list[float] = field(default_factory=list)
    wishes: list[dict[str, Any]] = field(default_factory=list)
    """What was posted."""
    busy: int = 0
    most_busy: int = 0
    """Requests at a time."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    route: ClassVar[str]

    def rest(self) -> None:
        """Wait until all is counted that was answered."""
        until = time.monotonic() + 30
        while self.busy and time.monotonic() < until:
            time.sleep(0.01)

    def asked(self, wish: dict[str, Any]) -> list[Any]:
        """What a request asks about, one by one."""
        raise NotImplementedError

    def count(self, asked: list[Any]) -> int:
        """Tokens."""
        raise NotImplementedError

    def rows(self, asked: list[Any], fault: str | None) -> list[dict[str, Any]]:
        """What is answered, one by one, each with its ``index``."""
        raise NotImplementedError

    def content(self, rows: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        """The whole answer."""
        raise NotImplementedError

    def tokens(self, asked: list[Any]) -> int:
        """Those that are billed."""
        return round(self.bills * self.count(asked))


@dataclass
class Endpoint(Served):
    """Embeds."""

    encoder: Encoder
    encode: Callable[[np.ndarray], Any] = lambda vector: vector.tolist()
    route: ClassVar[str] = "/embeddings"

    def asked(self, wish: dict[str, Any]) -> list[Any]:
        texts: list[Any] = wish["input"]
        return texts

    def count(self, asked: list[Any]) -> int:
        return sum(len(row) for row in self.encoder.tokenise(asked))

    def rows(self, asked: list[Any], fault: str | None) -> list[dict[str, Any]]:
        vectors = self.encoder.encode(asked)
        if fault == "wide":
            vectors = np.concatenate([vectors, vectors], axis=1)
        rows = [
            {"object": "embedding", "index": place, "embedding": self.encode(vector)}
            for place, vector in enumerate(vectors)
        ]
        if fault == "nan":
            rows[0]["embedding"] = [float("nan")] * vectors.shape[1]
        return rows

    def content(self, rows: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        content: dict[str, Any] = {"object": "list", "data": rows, "model": MODEL}
        if self.counts:
            content["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return content


@contextmanager
def serving(model: Path, **options: Any) -> Iterator[Endpoint]:
    """An endpoint that embeds, for as long as the block lasts."""
    encoder = load_encoder(model, "cpu")
    encoder.max_length = 10**6
    endpoint = Endpoint(encoder, **options)
    with listening(endpoint):
        yield endpoint


@contextmanager
def listening(endpoint: Served) -> Iterator[None]:
    """It answers for as long as the block lasts."""

    class Handler(_Handler):
        served = endpoint

    server = _Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
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
    served: Served

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        endpoint = self.served
        with endpoint.lock:
            endpoint.busy += 1
            endpoint.most_busy = max(endpoint.busy, endpoint.most_busy)
        try:
            self._post()
        finally:
            with endpoint.lock:
                endpoint.busy -= 1

    def _post(self) -> None:
        endpoint = self.served
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.wishes.append(wish)
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
        if self.path != f"/v1{endpoint.route}" or wish["model"] != MODEL:
            self._say(404, _error(f"The model {wish['model']!r} does not exist"))
            return
        self._answer(endpoint.asked(wish), endpoint.fault(number))

    def _answer(self, asked: list[Any], fault: str | None) -> None:
        endpoint = self.served
        if fault and fault.isdigit():
            after = {"Retry-After": "0"} if fault == "429" else {}
            self._say(int(fault), _error("not now"), after)
            return
        if fault == "stall":  # what was read is billed
            with endpoint.lock:
                endpoint.billed += endpoint.tokens(asked)
            time.sleep(endpoint.stall)
            return
        if fault == "declined":
            self._say(400, _error("against the rules", "content_filter"))
            return
        if fault and fault.startswith("wait "):
            self._say(429, _error("slow down"), {"Retry-After": fault.split()[1]})
            return
        with endpoint.lock:
            rows = endpoint.rows(asked, fault)
            tokens = endpoint.tokens(asked)
            endpoint.billed += tokens
        body = json.dumps(endpoint.content(_spoilt(rows, fault), tokens)).encode()
        if fault == "garbage":
            body = b"<html>upstream \xff</html>"
        if fault == "truncated":
            body = body[: len(body) // 2]
        self._say(200, body, cut=fault == "broken")
        if fault is None or fault == "shuffled":
            with endpoint.lock:
                endpoint.answered += 1
                endpoint.delivered.update(asked)

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


def _spoilt(rows: list[dict[str, Any]], fault: str | None) -> list[dict[str, Any]]:
    if fault == "short":
        rows.pop()
    if fault == "twice":
        rows[-1]["index"] = rows[0]["index"] if len(rows) > 1 else 1
    if fault == "shuffled":
        random.Random(len(rows)).shuffle(rows)
    return rows


def _error(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "made", "code": code}}).encode()


def in_base64(vector: np.ndarray) -> str:
    """As servers send it that do not care what they were asked for."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
