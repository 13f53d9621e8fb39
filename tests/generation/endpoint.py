"""A stand-in for an OpenAI-compatible endpoint with known behaviour: answers from a function, counts calls, can be told to fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2

from rar_pipeline.corpus.link import Link
from rar_pipeline.generation.questions import Candidate, Question

FILMS = {
    "tt1": ("Jaws", 1975, "Thriller | a shark"),
    "tt2": ("Heat", 1995, "Crime | a heist"),
    "tt3": ("Up", 2009, "Animation | balloons"),
}


def candidates(*ids: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(i, *FILMS[i]) for i in ids or FILMS)


def question(
    name: str = "q1", text: str = "Something with a shark, please", ids: tuple[str, ...] = ("tt1", "tt2", "tt3"), **more: Any
) -> Question:
    return Question(name, f"Recommender: Hi!\nSeeker: {text}", candidates(*ids) if ids else (), **more)


def match(title: str, year: int | None) -> Link:
    found = next((i for i, (t, y, _) in FILMS.items() if t.lower() == title.lower() and year in (None, y)), None)
    return Link(found, 1.0, "title and year") if found else Link(None, 0.0, "no such title")


class Endpoint:
    """`say(body)` gives a chat answer's text; `statuses` are answered first, one a call (200 = go on).

    Echoed words that stood in the text before get -1 nat, others -2.
    """

    def __init__(
        self, say: Callable[[dict[str, Any]], str] | None = None, statuses: list[int] | None = None, refuse: tuple[str, ...] = ()
    ):
        self.say = say or (lambda body: "1. Jaws (1975)")
        self.statuses = statuses or []
        self.refuse = refuse
        self.asked: list[dict[str, Any]] = []
        self.headers: list[httpx2.Headers] = []

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.headers.append(request.headers)
        path = request.url.path
        if path.endswith("/models"):
            return httpx2.Response(200, json={"object": "list", "data": []})
        body = json.loads(request.content)
        refused = next((name for name in self.refuse if name in body), None)
        if refused:
            return httpx2.Response(400, json={"error": {"message": f"unknown parameter {refused}"}})
        probing = "Say yes." in request.content.decode() or "The capital of France is" in str(body.get("prompt"))
        if not probing:
            self.asked.append(body)
            status = self.statuses.pop(0) if self.statuses else 200
            if status != 200:
                return httpx2.Response(status, headers={"retry-after-ms": "1"}, json={"error": {"message": "sk-secret: no"}})
        return httpx2.Response(200, json=self.completed(body) if path.endswith("/v1/completions") else self.chatted(body))

    def chatted(self, body: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": self.say(body)},
        }
        if body.get("logprobs"):
            tops = [{"token": t, "logprob": p, "bytes": None} for t, p in ((" B", -0.5), ("The", -1.0), ("B", -2.0), ("A", -3.0))]
            choice["logprobs"] = {"content": [{"token": "B", "logprob": -0.5, "bytes": None, "top_logprobs": tops}]}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}

    def completed(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            found = echoed(prompt + " x")
            if not body.get("echo"):
                found = {name: values[-1:] for name, values in found.items()}
            choices.append({"index": index, "text": "".join(found["tokens"]), "finish_reason": "length", "logprobs": found})
        usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
        return {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": choices[::-1], "usage": usage}


def echoed(text: str) -> dict[str, list[Any]]:
    """Log-probabilities of a text in the old completions' shape, a token a word."""
    told: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "text_offset": []}
    known: set[str] = set()
    for token in re.finditer(r" ?\w+|\W", text):
        word = token[0].strip().lower()
        told["tokens"].append(token[0])
        told["token_logprobs"].append(-1.0 if word in known else -2.0)
        told["text_offset"].append(token.start())
        known.add(word)
    return told
