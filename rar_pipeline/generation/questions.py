"""What goes into the language model stage and what comes out: plain data, no behaviour beyond counting."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["likelihood", "label", "generate"]
MODES: tuple[Mode, ...] = ("likelihood", "label", "generate")


@dataclass(frozen=True)
class Candidate:
    """A movie that the model may choose. `card`: facts on one line, as in "genres | director and cast | one line of plot"."""

    movie_id: str
    title: str
    year: int | None
    card: str


@dataclass(frozen=True)
class Question:
    """A conversation and the candidates to be ranked for it.

    `context`: turns, one a line, `Seeker:` or `Recommender:` first. `candidates`: in the order in which they are shown; empty asks the model
    alone (only in mode generate). `seen`: movie_ids already mentioned; titles of them are dropped from a generated list and counted.
    """

    question_id: str
    context: str
    candidates: tuple[Candidate, ...]
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    `status`: answered; unparsed (the model wrote nothing that can be read as titles or labels); failed (`error` says why).
    `ranking`: movie_ids, best first; all candidates for likelihood and label, the matched titles for generate. `scores`: one for each
    movie of `ranking`, in nats (empty for generate). `unmatched`, `repeated`, `already_seen`: generated titles that were dropped, by reason.
    `seconds`: wall-clock of the call; for what came from the cache (`cached`: all of it), of the calls that once paid for it.
    `prompt_hash`: SHA-256 of the final messages or prompts, hexadecimal.
    """

    question_id: str
    status: Literal["answered", "failed", "unparsed"]
    mode: Mode
    model: str
    prompt_hash: str
    raw_answer: str = ""
    ranking: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    unmatched: int = 0
    repeated: int = 0
    already_seen: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cached: bool = False
    error: str = ""


@dataclass
class CallBudget:
    """Calls that may still be made, shared by everybody who holds this object; `limit` 0 means no limit. Safe between threads."""

    limit: int = 0
    spent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def take(self) -> bool:
        """Reserve one call. False, and nothing reserved, where the budget is used up."""
        with self._lock:
            if self.limit and self.spent >= self.limit:
                return False
            self.spent += 1
            return True


@dataclass(frozen=True)
class LanguageModelHandle:
    """How to reach a language model and how hard to try; holds no secret.

    `base_url` ends in the API's root (…/v1). `key_from_environment`: send OPENAI_API_KEY (False for loopback servers, which get a dummy).
    `concurrency`: calls in flight. `timeout`: seconds of one attempt. `retries`: further attempts after a transient failure.
    `cache`: SQLite file of answers (None: nothing is kept). `budget`: calls allowed over the life of this handle.
    `words`: last words of the seeker that likelihood scores. `card_characters`, `context_characters`: what is kept of a card and of the end of a
    conversation.
    """

    base_url: str
    model: str
    mode: Mode = "generate"
    key_from_environment: bool = True
    concurrency: int = 4
    timeout: float = 120.0
    retries: int = 4
    cache: Path | None = None
    budget: CallBudget = field(default_factory=CallBudget)
    words: int = 16
    card_characters: int = 160
    context_characters: int = 4000
