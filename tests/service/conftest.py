"""A champion of the sample films, trained once in seconds, and the real server over it on a loopback port."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from rar_pipeline.conversations import READERS
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.own_data import items_table, learn
from rar_pipeline.sample.films import load_films
from rar_pipeline.service.app import create_app
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.lake import open_champion
from rar_pipeline.settings import Settings
from tests.small_world import small_encoder, small_settings, small_world

DATASET = "redial"


@dataclass(frozen=True)
class Films:
    """A lake with one trained version, and the settings that find it."""

    settings: Settings
    environment: dict[str, str]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    folder = tmp_path_factory.mktemp("films")
    sources = small_world(folder / "world")
    settings = small_settings(
        sources, folder / "lake", encoder=str(small_encoder(folder / "encoder")), pretraining_epochs=3, epochs=1
    )
    items = items_table(
        {
            "movie_id": film.imdb_id,
            "title": film.title,
            "year": film.year,
            "genres": list(film.genres),
            "directors": list(film.directors),
            "cast": list(film.cast),
            "plot": film.plot,
            "votes": film.votes,
        }
        for film in load_films()
    )
    files = {f"redial/{path.name.removesuffix('.gz')}": path for path in (sources / "redial").iterdir()}
    learn(settings, DATASET, items, READERS[DATASET](files, 0.3).conversations, log=lambda line: None)
    environment = {**os.environ, "RAR_SOURCES": str(sources), "RAR_LAKE": str(folder / "lake"), "COLUMNS": "120"}
    return Films(settings, environment)


@pytest.fixture(scope="session")
def champion(films: Films) -> Champion:
    return open_champion(films.settings, DATASET)[0]


@contextmanager
def served(champion: Champion, **more: object) -> Iterator[str]:
    """The address of a server of its own over a champion."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(create_app(champion, **more), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        ends = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < ends
            time.sleep(0.02)
        (port,) = {listening.getsockname()[1] for one in server.servers for listening in one.sockets}
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Writer:
    """A stand-in for a language model that writes: `say(prompt)` gives its answer, which it streams a few letters at a time."""

    def __init__(self, say: Callable[[str], str], status: int = 200) -> None:
        self.say, self.status = say, status
        self.prompts: list[str] = []

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        import json

        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"object": "list", "data": []})
        body = json.loads(request.content)
        about = {"id": "1", "created": 1, "model": "writer"}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "yes"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return httpx2.Response(200, json={**about, "object": "chat.completion", "choices": [choice], "usage": None})
        self.prompts.append(body["messages"][-1]["content"])
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": {"message": "the key sk-planted-secret is wrong"}})
        text = self.say(self.prompts[-1])
        pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
        chunks = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [json.dumps({**about, "object": "chat.completion.chunk", "choices": [chunk]}) for chunk in chunks]
        stream = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream.encode())


WRITING = LanguageModelHandle("http://127.0.0.1:9/v1", "writer", mode="generate", key_from_environment=False, retries=0)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the feedback that the served champion is given."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def address(champion: Champion, kept: Path) -> Iterator[str]:
    with served(champion, keep=kept) as address:
        yield address
