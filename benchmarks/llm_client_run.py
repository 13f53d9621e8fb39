"""`python -m benchmarks.llm_client_run PLAN TOLD`: one system's turn. Start-up, imports and one call beforehand are not timed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.llm_client_server import FILMS
from rar_pipeline.corpus.link import Link
from rar_pipeline.generation import generate
from rar_pipeline.generation.client import Client
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all

CARD = "Drama, Thriller | directed by Somebody Known; First Player, Second Player, Third Player | Two strangers meet on a train, and stay."


def questions(count: int, first: int = 0) -> list[Question]:
    """Different conversations of six turns about the same films."""
    films = tuple(Candidate(f"tt{place}", f"Film number {place}", 1980 + place, CARD) for place in range(1, FILMS + 1))
    said = (
        "I liked the one about the sea, and nothing too long please; something with a good ending for a rainy evening like this. "
    )
    talk = "\n".join(f"{('Seeker', 'Recommender')[turn % 2]}: {said}" for turn in range(6))
    return [Question(str(n), f"{talk}\nSeeker: wish {n}", films) for n in range(first, first + count)]


def handle(plan: dict[str, Any]) -> LanguageModelHandle:
    """The endpoint of a plan."""
    return LanguageModelHandle(
        plan["url"], "m", concurrency=plan["in_flight"], cache=Path(plan["cache"]), key_from_environment=False, timeout=60
    )


def unknown(title: str, year: int | None) -> Link:
    """No corpus: all titles are candidates'."""
    return Link(None, 0.0, "unknown")


def ours(plan: dict[str, Any], clock: Clock) -> None:
    """Ask all questions through `rank_all`: prompts, cache, record, reading and grounding included."""
    model = handle(plan)
    rank_all(questions(1, plan["count"]), model, unknown)
    clock.start()
    answers = rank_all(questions(plan["count"]), model, unknown)
    assert all(answer.status == "answered" and len(answer.ranking) == FILMS and not answer.cached for answer in answers)


def bare(plan: dict[str, Any], clock: Clock) -> None:
    """Send the same bodies with a bare asynchronous HTTP client and read the answers' JSON."""
    import httpx2

    model = handle(plan)
    bodies = []
    for question in questions(plan["count"] + 1):
        (part,) = generate.parts(question, model, FILMS)
        bodies.append(json.dumps({"model": "m", "messages": part["messages"], "temperature": 0}, ensure_ascii=False).encode())

    async def work() -> None:
        in_flight = plan["in_flight"]
        limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        async with httpx2.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:

            async def one() -> None:
                while bodies:
                    answer = await client.post(
                        f"{plan['url']}/chat/completions", content=bodies.pop(), headers={"content-type": "application/json"}
                    )
                    assert answer.json()["choices"]

            body = bodies.pop()
            bodies[:], rest = [body], list(bodies)
            await one()
            bodies[:] = rest
            clock.start()
            await asyncio.gather(*(one() for _ in range(in_flight)))

    asyncio.run(work())


def replay(plan: dict[str, Any], clock: Clock) -> None:
    """Answer all questions from the file, with nobody at the address."""
    model = handle(plan)
    clock.start()
    answers = rank_all(questions(plan["count"]), model, unknown)
    assert all(answer.cached and len(answer.ranking) == FILMS for answer in answers)


def rows(plan: dict[str, Any], clock: Clock) -> None:
    """Read the same answers out of the file one by one and parse them."""
    model = handle(plan)
    client = Client(model)
    keys = [client.keys("generate", generate.parts(question, model, FILMS))[0] for question in questions(plan["count"])]
    with sqlite3.connect(plan["cache"]) as file:
        clock.start()
        for key in keys:
            json.loads(file.execute("select answer from answers where key = ?", (key,)).fetchone()[0])


def fill(plan: dict[str, Any], clock: Clock) -> None:
    """Put an answer to every question into the file."""
    from benchmarks.llm_client_server import answer

    content = json.loads(answer())["choices"][0]["message"]["content"]
    model = handle(plan)
    client = Client(model)
    kept = {"raw": content, "prompt_tokens": 1200, "answer_tokens": 200, "seconds": 1.0, "cost": 0.0}
    for question in questions(plan["count"]):
        client.cache.put(client.keys("generate", generate.parts(question, model, FILMS))[0], "m", "generate", kept)


class Clock:
    """Wall and processor seconds since it was started."""

    wall = cpu = 0.0

    def start(self) -> None:
        """From here on it counts."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def told(self) -> dict[str, float]:
        """Seconds so far."""
        return {"seconds": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}


SYSTEMS = {"ours": ours, "bare": bare, "replay": replay, "rows": rows, "fill": fill}

if __name__ == "__main__":
    plan, clock = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Clock()
    SYSTEMS[plan["system"]](plan, clock)
    Path(sys.argv[2]).write_text(json.dumps(clock.told()), encoding="utf-8")
