"""ReDial's files from simulated conversations: JSON lines with `@id`, forms of both workers, and the list of movies.

The dirt is ReDial's: names with a double blank, without a year or with a wrong one, two ids for one film, HTML entities, ids for
people and franchises, `[]` for empty maps, forms that one worker did not fill, mentions that no message holds.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rar_pipeline.sample.films import Film
from rar_pipeline.sample.phrases import UNLISTED
from rar_pipeline.sample.raw import write_csv, write_jsonl
from rar_pipeline.sample.session import Message, Opinion, Reference, Session, Unlisted
from rar_pipeline.sample.simulator import Simulator
from rar_pipeline.sample.talk import chat

_FIRST_UNLISTED = 300_001
_SECOND_ID = 500_000  # added to a film's id: the film once more, by its bare title
_TWICE_LISTED = 12
_LEFT_EARLY = 151  # of so many conversations one ends before any movie came up


class _Listing:
    """ReDial's list of movies: ids and names, as workers had entered them."""

    def __init__(self, films: Sequence[Film], rng: np.random.Generator) -> None:
        self.films = films
        self.rng = rng
        self.names: dict[int, str | None] = {film.redial_id: self._name(film) for film in films}
        known = sorted(films, key=lambda film: (-film.votes, film.number))
        self.names[known[len(known) // 10].redial_id] = None  # one name was lost
        known = known[:_TWICE_LISTED]
        self.twice = {film.number for film in known}
        self.names |= {film.redial_id + _SECOND_ID: f"{film.title} " for film in known}
        self.names |= {_FIRST_UNLISTED + place: name for place, name in enumerate(UNLISTED)}

    def _name(self, film: Film) -> str:
        draw = self.rng.random()
        title = html.escape(film.title, quote=False) if self.rng.random() < 0.5 else film.title
        if draw < 0.04:
            return f"{title} "
        year = film.year + 1 if draw < 0.05 else film.year
        return f"{title}  ({year})" if draw < 0.5 else f"{title} ({year})"

    def number(self, reference: Reference) -> int:
        """The id that stands for the film this time."""
        if isinstance(reference, Unlisted):
            return _FIRST_UNLISTED + UNLISTED.index(reference.name)
        second = reference.number in self.twice and self.rng.random() < 0.15
        return reference.redial_id + (_SECOND_ID if second else 0)


def write_redial(folder: Path, simulator: Simulator, train: int, test: int) -> None:
    """`train_data.jsonl`, `test_data.jsonl` and `movies_with_mentions.csv` below `folder`; counts are of training only."""
    listing = _Listing(simulator.landscape.films, simulator.rng)
    dialogues = [_dialogue(chat(simulator), 20_001 + 3 * place, listing) for place in range(train + test)]
    write_jsonl(folder / "train_data.jsonl", dialogues[:train])
    write_jsonl(folder / "test_data.jsonl", dialogues[train:])
    counts = Counter(int(number) for dialogue in dialogues[:train] for number in dialogue["movieMentions"])
    write_csv(
        folder / "movies_with_mentions.csv",
        ("movieId", "movieName", "nbMentions"),
        [(number, name or "", counts[number]) for number, name in sorted(listing.names.items())],
        line_end="\r\n",
    )


def _dialogue(session: Session, conversation: int, listing: _Listing) -> dict[str, Any]:
    rng = listing.rng
    if conversation % _LEFT_EARLY == 0:
        session = Session([message for message in session.messages[:3] if not message.references])
    numbers = {reference: listing.number(reference) for reference in dict.fromkeys([*session.mentioned, *session.opinions])}
    seeker, recommender = (int(worker) for worker in rng.choice(400, size=2, replace=False))
    clock, messages = 0, []
    for place, message in enumerate(session.messages):
        messages.append(
            {
                "timeOffset": clock,
                "text": _text(message, numbers, rng),
                "senderWorkerId": seeker if message.speaker == "seeker" else recommender,
                "messageId": 10 * conversation + place,
            }
        )
        clock += 5 + int(rng.integers(60))
    opinions = {number: session.opinions.get(reference, Opinion(2, 2, 2)) for reference, number in numbers.items()}
    if opinions and rng.random() < 0.05:  # named in a message that was taken back
        opinions.setdefault(listing.films[int(rng.integers(len(listing.films)))].redial_id, Opinion(2, 2, 2))
    return {
        "movieMentions": {str(number): listing.names[number] for number in opinions} or [],
        "respondentQuestions": _form(opinions, rng, unsure=0.12),
        "messages": messages,
        "conversationId": str(conversation),
        "respondentWorkerId": recommender,
        "initiatorWorkerId": seeker,
        "initiatorQuestions": _form(opinions, rng, unsure=0.0),
    }


def _form(opinions: dict[int, Opinion], rng: np.random.Generator, unsure: float) -> object:
    if not opinions or rng.random() < 0.02:
        return []
    return {
        str(number): {"suggested": told.suggested, "seen": told.seen, "liked": 2 if rng.random() < unsure else told.liked}
        for number, told in opinions.items()
    }


def _text(message: Message, numbers: dict[Reference, int], rng: np.random.Generator) -> str:
    encoded = rng.random() < 0.08
    pieces = []
    for part in message.parts:
        if isinstance(part, str):
            pieces.append(html.escape(part).replace("&#x27;", "&#39;") if encoded else part)
        else:
            pieces.append(f"@{numbers[part]}" + (" " if rng.random() < 0.15 else ""))
    return "".join(pieces)
