"""The web service as a client sees it: a real server on loopback, the contract of its OpenAPI, what it refuses, and how the LLM's answer comes."""

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as bounds
from schemathesis.checks import CHECKS

from rar_pipeline.generation.budget import Budget
from rar_pipeline.service.app import BODY
from rar_pipeline.service.champion import Champion
from rar_pipeline.service.feedback import gather
from rar_pipeline.service.talk import CHARACTERS, Talk

from .conftest import WRITING, Writer, served

ASKED = {"turns": [{"text": "I loved Heat (1995). Something clever, please"}]}
NAME = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        yield client


def events(client: httpx.Client, body: object) -> list[tuple[str, dict]]:
    with client.stream("POST", "/api/answer", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = answer.read().decode()
    found = []
    for block in told.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.fixture(scope="module")
def contract(address: str) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("path", ["/api/health", "/api/link", "/api/recommend", "/api/feedback", "/api/answer"])
def test_every_answer_keeps_the_promises_of_the_openapi(contract: schemathesis.schemas.BaseSchema, path: str) -> None:
    """Schemathesis draws bodies, good and bad, from the contract: no server error, no status, type or shape that it does not name."""
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
    checks = CHECKS.get_by_names(names) if path != "/api/answer" else CHECKS.get_by_names(names[:2])
    (operation,) = [found.ok() for found in contract.get_all_operations() if found.ok().path == path]
    modes = schemathesis.GenerationMode

    @seed(0)
    @bounds(max_examples=12, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=modes.POSITIVE) | operation.as_strategy(generation_mode=modes.NEGATIVE))
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=checks, timeout=20)

    holds()


def test_the_retrievers_candidates_come_at_once_and_alone_where_there_is_no_llm(client: httpx.Client) -> None:
    plain = client.post("/api/recommend", json=ASKED).json()
    told = events(client, ASKED)
    assert [kind for kind, _ in told] == ["candidates", "done"]
    assert told[0][1]["candidates"] == plain["candidates"]
    assert len(plain["candidates"]) == 10
    assert [mention["movie"]["title"] for mention in plain["mentions"]] == ["Heat"]


def test_the_llms_words_are_streamed_and_only_movies_of_the_corpus_become_cards(champion: Champion) -> None:
    def say(prompt: str) -> str:
        first = next(line for line in prompt.splitlines() if line.startswith("2. "))[3:].split(" | ")[0]
        return f"Try these.\n1. Vertigo (1958)\n2. {first}\n3. A Film That Nobody Made (2077)\n4. Heat (1995)"

    writer = Writer(say)
    with (
        served(champion, model=WRITING, transport=writer.transport) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        told = events(client, ASKED)
        assert client.get("/api/health").json()["llm"] == "writer"
    kinds = [kind for kind, _ in told]
    assert kinds == ["candidates", *["words"] * (len(kinds) - 3), "ranking", "done"]
    assert kinds.count("words") > 5
    candidates, ranking = told[0][1]["candidates"], told[-2][1]
    assert "".join(data["text"] for kind, data in told if kind == "words") == say(writer.prompts[0])
    assert [card["title"] for card in ranking["movies"]] == ["Vertigo", candidates[1]["title"]]
    assert ranking["unmatched"] == 1
    assert ranking["movies"][1]["why"] == candidates[1]["why"]
    assert "Seeker: I loved Heat (1995)" in writer.prompts[0]


def test_an_llm_that_fails_costs_its_words_only_and_tells_no_secret(champion: Champion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    writer = Writer(lambda prompt: "", status=401)
    with (
        served(champion, model=WRITING, transport=writer.transport) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        told = events(client, ASKED)
    assert [kind for kind, _ in told] == ["candidates", "failed", "done"]
    assert len(told[0][1]["candidates"]) == 10
    assert "401" in told[1][1]["text"]
    assert "sk-planted-secret" not in json.dumps(told)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_an_llm_wrote_is_on_record_with_its_cost_and_without_it_where_nothing_is_kept(
    champion: Champion, tmp_path: Path, keeps: bool
) -> None:
    writer = Writer(lambda prompt: "1. Vertigo (1958)")
    model = replace(WRITING, cache=tmp_path / "a.sqlite", budget=Budget(calls=3), known={})
    with (
        served(champion, model=model, transport=writer.transport, keep=tmp_path if keeps else None) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        told = [events(client, {"turns": [{"text": text}]})[-2] for text in ("Heat (1995)", "Alien (1979)", "Up (2009)")]
    assert [kind for kind, _ in told] == ["ranking", "ranking", "failed"]  # a probe and two answers are all that may be asked
    assert "3 of 3 calls" in told[-1][1]["text"]
    with sqlite3.connect(tmp_path / "a.sqlite") as people:
        calls = people.execute("select status, attempts, answer_tokens > 0, raw_answer from calls where kind = 'chat'").fetchall()
    assert calls == [("answered", 1, 1, "1. Vertigo (1958)" if keeps else None)] * 2


def test_a_damaged_file_of_answers_costs_the_llms_words_and_is_told_without_its_place(champion: Champion, tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 1000)
    model = replace(WRITING, cache=tmp_path / "a.sqlite")
    with served(champion, model=model) as address, httpx.Client(base_url=address, trust_env=False) as client:
        told = events(client, ASKED)
    assert [kind for kind, _ in told] == ["candidates", "failed", "done"]
    assert "a.sqlite" in told[1][1]["text"]
    assert str(tmp_path) not in json.dumps(told)


def test_feedback_is_kept_as_a_conversation_replaced_and_forgotten(client: httpx.Client, kept: Path) -> None:
    first = client.post("/api/recommend", json=ASKED).json()["candidates"][0]
    turns = [*ASKED["turns"], {"speaker": "recommender", "text": "How about it?", "movies": []}]
    body = {
        "conversation_id": NAME,
        "turns": turns,
        "reactions": [{"turn": 1, "movie_id": first["movie_id"], "opinion": "accepted"}],
    }
    assert client.post("/api/feedback", json=body).json() == {"turns": 2, "mentions": 2}
    assert client.post("/api/feedback", json=body).status_code == 200
    _, mentions, cases, _ = gather(kept)
    mine = cases.filter(pl.col("dialogue_id") == NAME)
    assert mine["targets"].to_list() == [[first["movie_id"]]]
    assert mentions.filter(pl.col("dialogue_id") == NAME)["liked"].to_list() == [None, 1]
    assert client.post("/api/feedback", json=body | {"reactions": []}).json() == {"turns": 0, "mentions": 0}
    assert NAME not in gather(kept)[0]["dialogue_id"].to_list()


def test_a_service_that_keeps_nothing_says_so(champion: Champion) -> None:
    body = {"conversation_id": NAME, "turns": ASKED["turns"], "reactions": []}
    with served(champion) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/api/feedback", json=body).status_code == 403
        assert client.get("/api/health").json()["keeps_feedback"] is False


def test_feedback_that_cannot_be_written_is_told_and_recommending_goes_on(champion: Champion, tmp_path: Path) -> None:
    place = tmp_path / "no folder"
    place.write_text("a file stands where the folder should be")
    first = champion.recommend(Talk.model_validate(ASKED)).candidates[0].movie_id
    turns = [*ASKED["turns"], {"speaker": "recommender", "text": "How about it?"}]
    body = {"conversation_id": NAME, "turns": turns, "reactions": [{"turn": 1, "movie_id": first, "opinion": "liked"}]}
    with served(champion, keep=place) as address, httpx.Client(base_url=address, trust_env=False) as client:
        answer = client.post("/api/feedback", json=body)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("it cannot be kept: ")
        assert str(tmp_path) not in answer.text
        assert client.post("/api/recommend", json=ASKED).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"json": {"turns": []}}, 422),
        ({"json": {"turns": [{"text": "a" * (CHARACTERS + 1)}]}}, 422),
        ({"json": {"turns": [{"text": "a"}] * 61}}, 422),
        ({"json": ASKED | {"liked": ["../../etc/passwd"]}}, 422),
        ({"content": b"x" * (BODY + 1), "headers": {"Content-Type": "application/json"}}, 413),
        ({"content": json.dumps(ASKED), "headers": {"Content-Type": "text/plain"}}, 422),  # what other sites can send unasked
        ({"json": ASKED, "headers": {"Host": "evil.example"}}, 400),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ],
)
def test_what_is_too_much_or_from_elsewhere_is_refused(client: httpx.Client, change: dict, status: int) -> None:
    assert client.post("/api/recommend", **change).status_code == status


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "chat.js/../index.html", "app.py", "docs", "redoc"])
def test_nothing_but_the_page_is_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/{name}").status_code == 404


def test_the_page_loads_nothing_from_elsewhere_and_no_answer_tells_where_the_lake_is(client: httpx.Client, kept: Path) -> None:
    answers = [client.get(path) for path in ("/", "/chat.js", "/chat.css", "/openapi.json", "/api/health", "/nothing")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert str(kept) not in answer.text
        assert os.environ.get("HOME", "/root") + "/" not in answer.text
    assert all("http://" not in answer.text and "https://" not in answer.text for answer in answers[:3])
    assert "innerHTML" not in answers[1].text
