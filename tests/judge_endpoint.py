"""An endpoint over real HTTP that ranks the candidates as a judge of known competence."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx2
import polars as pl

from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.prompts import conversation, name

from .generation.endpoint import Endpoint


class Judge(Endpoint):
    """Writes lists of the candidates: the targets of the conversation first where it `knows` them, else in an order drawn from the prompt."""

    def __init__(self, cases: pl.DataFrame, movies: pl.DataFrame, *, knows: bool) -> None:
        super().__init__(self.ranked)
        self.right: dict[str, set[str]] = defaultdict(set)
        if knows:
            cards = candidates_of(movies, cases["targets"].explode().drop_nulls().unique().to_list())
            for context, targets in cases.select("context", "targets").iter_rows():
                self.right[conversation(context, 4000)] |= {name(cards[movie]) for movie in targets}

    def ranked(self, body: dict[str, Any]) -> str:
        prompt = body["messages"][-1]["content"]
        said = re.search(r"<conversation>\n(.*?)\n?</conversation>", prompt, re.DOTALL)
        shown = re.search(r"<candidates>\n(.*?)\n</candidates>", prompt, re.DOTALL)
        titles = [re.sub(r"^\d+\. ", "", line).split(" | ")[0] for line in shown[1].splitlines()] if shown else []
        random.Random(prompt).shuffle(titles)
        right = self.right[said[1] if said else ""]
        return "\n".join(f"{place}. {title}" for place, title in enumerate(sorted(titles, key=lambda one: one not in right), 1))


@contextmanager
def served(endpoint: Endpoint) -> Iterator[str]:
    """The endpoint on a port of loopback; gives its base address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = endpoint.answer(httpx2.Request(self.command, f"http://endpoint{self.path}", content=content))
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
