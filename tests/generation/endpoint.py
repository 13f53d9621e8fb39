"""A stand-in for an OpenAI-compatible endpoint with known behaviour: answers from a function, counts calls, can be told to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2

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


def match(title: str, year: int | None) -> str | None:
    return next((i for i, (t, y, _) in FILMS.items() if t.lower() == title.lower() and year in (None, y)), None)


class Endpoint:
    """`say(body)` gives a chat answer's text; `statuses` are answered first, one a call (200 = go on).

    Forced words that stand in the prompt get -1 nat, others -2.
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
        if path.endswith("/tokenize"):
            return httpx2.Response(200, json={"tokens": [hash_of(w) for w in body["content"].split()]})
        probing = "Say yes." in request.content.decode() or body.get("prompt") == ["The capital of France is"]
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
        tokens = [int(t[2:-2]) for t in body["grammar"].split() if t.startswith("<[")]
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            known = {hash_of(w) for w in prompt.lower().split()}
            content = [{"id": t, "token": "x", "logprob": -1.0 if t in known else -2.0} for t in tokens]
            choices.append({"index": index, "text": "x", "finish_reason": "length", "logprobs": {"content": content}})
        usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 10}
        return {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": choices[::-1], "usage": usage}


def hash_of(word: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(word.strip('.,"').lower()))
