"""What is said in a conversation, and what people think of a movie: the words that page, terminal and service share, with their limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rar_pipeline.retriever.examples import QUERY_CHARACTERS

CHARACTERS, TURNS, MOVIES = 2000, 60, 50  # most of a turn, of a conversation, of a list

Words = Annotated[str, StringConstraints(max_length=CHARACTERS)]
MovieId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.\-]{1,64}$")]
Opinion = Literal["liked", "disliked", "seen", "accepted"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Named(_Message):
    """A title in somebody's words and the movie that they meant by it."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    movie_id: MovieId


class Said(_Message):
    """One turn. `movies`: of the seeker, titles that they picked; of the recommender, the movies that the turn names."""

    speaker: Literal["seeker", "recommender"] = "seeker"
    text: Words
    movies: list[Named] = Field(default_factory=list, max_length=MOVIES)


class Talk(_Message):
    """A conversation so far, and what the seeker has said of movies by pressing buttons.

    `ignored`: movies that were found in the text and are not meant. `movies`: how many to recommend.
    """

    turns: list[Said] = Field(min_length=1, max_length=TURNS)
    liked: list[MovieId] = Field(default_factory=list, max_length=200)
    disliked: list[MovieId] = Field(default_factory=list, max_length=200)
    seen: list[MovieId] = Field(default_factory=list, max_length=200)
    ignored: list[MovieId] = Field(default_factory=list, max_length=200)
    movies: int = Field(10, ge=1, le=MOVIES)


class Reaction(_Message):
    """What the seeker thought of a movie that a turn of the recommender showed; `turn` counts from 0."""

    turn: int = Field(ge=0, lt=TURNS)
    movie_id: MovieId
    opinion: Opinion


class Feedback(_Message):
    """A whole conversation with all reactions; sent again after each, under the same id, it takes the place of what was sent before.

    Without a reaction it is forgotten.
    """

    conversation_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    turns: list[Said] = Field(min_length=1, max_length=TURNS)
    reactions: list[Reaction] = Field(max_length=400)
    ignored: list[MovieId] = Field(default_factory=list, max_length=200)


class Movie(BaseModel):
    """A movie as it is shown."""

    movie_id: str
    title: str
    year: int | None
    genres: list[str]
    people: list[str]
    plot: str


class Reason(BaseModel):
    """One thing that speaks for a movie. `kind`: together, shares, words, meaning, or overall where nothing of these does."""

    kind: Literal["together", "shares", "words", "meaning", "overall"]
    text: str


class Card(Movie):
    """A recommended movie and why."""

    why: list[Reason]


class Mention(BaseModel):
    """A title found in a text, from character `start` to `end`: the movie that it is linked to, or `choices` (did you mean)."""

    start: int
    end: int
    text: str
    movie: Movie | None
    reason: str
    choices: list[Movie] = Field(default_factory=list)


class Timing(BaseModel):
    """Milliseconds that a recommendation took: titles found, words embedded, and the retriever (query, search, reasons), also in CPU time."""

    link: float
    encode: float
    retrieve: float
    retrieve_cpu: float


class Recommendation(BaseModel):
    """What the retriever recommends, best first; `said`: the same as a sentence; `mentions`: titles found in the last turn."""

    version: str
    said: str
    mentions: list[Mention]
    candidates: list[Card]
    scores: list[float] = Field(description="of each candidate, logits; they compare within one answer only")
    milliseconds: Timing


def line(text: str) -> str:
    """Words on one line."""
    return " ".join(text.split())


def context(turns: list[Said]) -> str:
    """The turns as the retriever and the LLM read them: `Seeker:` or `Recommender:` first, one a line, empty ones left out."""
    return "\n".join(f"{said.speaker.capitalize()}: {line(said.text)[-QUERY_CHARACTERS:]}" for said in turns if said.text.strip())
