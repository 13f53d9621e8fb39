"""An OpenAI-compatible server as a process of its own, to be killed: `python -m tests.chaos.llm_server PORT SECONDS LOG`.

It answers with the candidates in reverse order after so many seconds. LOG gets a line a question: `asked HASH` when it comes,
`answered HASH` when its answer was handed to the network. What only asks what the server can do is not logged.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from ..generation.endpoint import Endpoint


def reversed_candidates(body: dict[str, Any]) -> str:
    """The titles of the prompt's candidates, the last first."""
    shown = re.search(r"<candidates>\n(.*?)\n</candidates>", body["messages"][-1]["content"], re.DOTALL)
    titles = [re.sub(r"^\d+\. ", "", line).split(" | ")[0] for line in shown[1].splitlines()] if shown else ["Jaws (1975)"]
    return "\n".join(f"{place}. {title}" for place, title in enumerate(reversed(titles), 1))


def serve(port: int, seconds: float, log: Path) -> None:
    """Answer until killed."""
    endpoint, alone = Endpoint(reversed_candidates), threading.Lock()

    def note(word: str, content: bytes) -> None:
        with alone, log.open("a") as lines:
            lines.write(f"{word} {hashlib.sha256(content).hexdigest()}\n")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with alone:
                before = len(endpoint.asked)
                answer = endpoint.answer(httpx2.Request(self.command, f"http://endpoint{self.path}", content=content))
                question = len(endpoint.asked) > before
            if question:
                note("asked", content)
                time.sleep(seconds)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)
            self.wfile.flush()
            if question:
                note("answered", content)

        do_POST = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
