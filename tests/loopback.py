"""A server on loopback that stands in for publishers: what it answers is set by path, what it was asked is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes after which the connection breaks


def told(value: object, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json; charset=utf-8", **headers})


class Loopback(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[Asked], Answer | None] = lambda asked: None  # None: 404
        self.robots: Answer | None = None
        self.faults: list[Answer] = []  # met first, one a request
        self.cuts: list[float] = []  # shares of a body after which the connection breaks, one a request
        self.requests: list[Asked] = []  # but those for robots.txt
        self.robots_asked = 0

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up, which tests make it do

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self) -> list[str]:
        return [asked.path for asked in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet, or the client waits 40 ms for the second
    server: Loopback

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(parts.path, query, {name.lower(): value for name, value in self.headers.items()}, time.monotonic())
        if parts.path == "/robots.txt":
            self.server.robots_asked += 1
            return self.send(self.server.robots or Answer(status=404))
        self.server.requests.append(asked)
        if self.server.faults:
            return self.send(self.server.faults.pop(0))
        if self.server.cuts:
            whole = self.server.answer(asked) or told({"error": "not found"}, 404)
            return self.send(replace(whole, cut=int(len(whole.body) * self.server.cuts.pop(0))))
        answer = self.server.answer(asked) or told({"error": "not found"}, 404)
        if answer.headers.get("ETag", "-") == asked.headers.get("if-none-match"):
            return self.send(Answer(status=304, headers={"ETag": answer.headers["ETag"]}))
        if answer.status == 200 and asked.headers.get("if-range") == answer.headers.get("ETag", "-"):
            start, size = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-")), len(answer.body)
            said = answer.headers | {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
            return self.send(Answer(answer.body[start:], 206, said))
        return self.send(answer)

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 304:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        self.wfile.flush()
        self.close_connection = answer.cut is not None


@contextmanager
def loopback() -> Iterator[Loopback]:
    with Loopback() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
