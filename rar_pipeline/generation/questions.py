"""What goes into the language model stage and what comes out: plain data, no behaviour beyond counting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rar_pipeline.generation.budget import Budget

if TYPE_CHECKING:
    from rar_pipeline.corpus.link import Link
    from rar_pipeline.generation.abilities import Abilities

Mode = Literal["likelihood", "label", "generate"]
MODES: tuple[Mode, ...] = ("likelihood", "label", "generate")

# title and year to a movie or to none: with the reason, or the movie_id alone
Match = Callable[[str, "int | None"], "Link | str | None"]


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
class Title:
    """A title that a model wrote: what became of it, and the reason of its match, or why there is none (`corpus.link.Linker.ground`)."""

    title: str
    year: int | None
    fate: Literal["ranked", "unmatched", "repeated", "already_seen"]
    movie_id: str | None
    reason: str


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    `status`: answered; unparsed (the model wrote nothing that can be read as titles or labels); failed (`error` says why).
    `ranking`: movie_ids, best first; all candidates for likelihood and label, the matched titles for generate. `scores`: one for each
    movie of `ranking`, in nats (empty for generate). `unmatched`, `repeated`, `already_seen`: generated titles that were dropped, by reason.
    `titles`: every title that was written, in order, with the reason of its match (only for generate).
    `seconds`: wall-clock of the call; for what came from the cache (`cached`: all of it), of the calls that once paid for it.
    `cost`: money for the call, in the currency of the prices; likewise. `prompt_hash`: SHA-256 of the final messages or prompts, hexadecimal.
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
    titles: tuple[Title, ...] = ()
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class LanguageModelHandle:
    """How to reach a language model and how hard to try; holds no secret.

    `base_url` ends in the API's root (…/v1). `key_from_environment`: send OPENAI_API_KEY (False for loopback servers, which get a dummy).
    `concurrency`: calls in flight. `timeout`: seconds of one attempt. `retries`: further attempts after a transient failure.
    `requests_per_minute`, `tokens_per_minute`: limits of the endpoint (0: none). `prompt_price`, `answer_price`: of a million tokens.
    `cache`: SQLite file of answers and calls (None: nothing is kept). `budget`: what may be spent over the life of this handle.
    `words`: last words of the seeker that likelihood scores. `card_characters`, `context_characters`: what is kept of a card and of the end of a
    conversation, in characters of English (bytes of UTF-8), which bounds their tokens whatever they hold.
    `thinking_tokens`: what a reasoning model may think before it answers, beside the answer's own tokens. `reasoning_effort`: sent where it is
    not empty. `known`: what the endpoint was found to be able to do, by mode; asked once over the life of this handle. `refused`: parameters of
    streams that it was found not to take.
    """

    base_url: str
    model: str
    mode: Mode = "generate"
    key_from_environment: bool = True
    concurrency: int = 4
    timeout: float = 120.0
    retries: int = 4
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    prompt_price: float = 0.0
    answer_price: float = 0.0
    cache: Path | None = None
    budget: Budget = field(default_factory=Budget, compare=False)
    words: int = 16
    card_characters: int = 160
    context_characters: int = 4000
    thinking_tokens: int = 0
    reasoning_effort: str = ""
    known: dict[Mode, Abilities] = field(default_factory=dict, repr=False, compare=False)
    refused: set[str] = field(default_factory=set, repr=False, compare=False)
