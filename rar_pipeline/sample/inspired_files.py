"""INSPIRED's files from simulated conversations: one utterance a row, titles as typed, movies as `Title (year); ...`.

The dirt is INSPIRED's: titles in lower case or cut at the colon, some unannotated, some annotated that nobody meant, one or two
blanks after the semicolon, quotation marks spelled out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rar_pipeline.sample.films import GENRES, Film
from rar_pipeline.sample.raw import write_tsv
from rar_pipeline.sample.session import Message, Reference, Session, Unlisted
from rar_pipeline.sample.simulator import Simulator
from rar_pipeline.sample.talk import chat

_HEADER = (
    "dialog_id utt_id speaker turn_id text text_with_placeholder movies genres people_names movie_dict genre_dict actor_dict "
    "director_dict others_dict expert_label second_label fine_label coarse_label movie_id"
)
HEADER = tuple(_HEADER.split())
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def write_inspired(folder: Path, simulator: Simulator, train: int, dev: int, test: int) -> None:
    """`train.tsv`, `dev.tsv` and `test.tsv` below `folder`; sizes in conversations."""
    films = simulator.landscape.films
    people: dict[str, list[str]] = {}  # by their first word, so that each text is held against few
    for name in sorted({name for film in films for name in film.people}):
        people.setdefault(name.split()[0], []).append(name)
    number = 0
    for split, size in (("train", train), ("dev", dev), ("test", test)):
        rows: list[tuple[object, ...]] = []
        for _ in range(size):
            number += 1
            name = f"2019{1101 + number % 29}-{number // 60 % 24:02d}{number % 60:02d}{7 * number % 60:02d}_{number}_live.pkl"
            rows += _rows(chat(simulator), name, films, people, simulator.rng)
        write_tsv(folder / f"{split}.tsv", HEADER, rows)


def _rows(
    session: Session, name: str, films: Sequence[Film], people: dict[str, list[str]], rng: np.random.Generator
) -> list[tuple[object, ...]]:
    utterances = []
    movies: dict[str, int] = {}
    genres: dict[str, int] = {}
    named: dict[str, int] = {}
    for message in session.messages:
        text, marked, annotated = _typed(message, movies, rng)
        if rng.random() < 0.01:  # a word of the text was taken for a title
            label = films[int(rng.integers(len(films)))].label
            annotated.append(label)
            movies.setdefault(label, len(movies))
        heard_genres = [genre.lower() for genre in sorted(GENRES) if genre.lower() in text.lower().split()]
        heard_people = [person for word in dict.fromkeys(text.split()) for person in people.get(word, []) if person in text]
        for heard, into in ((heard_genres, genres), (heard_people, named)):
            for word in heard:
                into.setdefault(word, len(into))
        utterances.append((message, text, marked, annotated, heard_genres, heard_people))
    trailer = "".join(_LETTERS[int(place)] for place in rng.integers(len(_LETTERS), size=11))
    rows: list[tuple[object, ...]] = []
    turn, before = 1, session.messages[0].speaker
    for place, (message, text, marked, annotated, heard_genres, heard_people) in enumerate(utterances, start=1):
        turn += message.speaker == session.messages[0].speaker != before
        before = message.speaker
        blank = "; " if rng.random() < 0.9 else ";  "
        rows.append(
            (
                name,
                place,
                message.speaker.upper(),
                turn,
                text.replace('"', "QUOTATION_MARK"),
                marked,
                blank.join(annotated),
                blank.join(heard_genres),
                blank.join(heard_people),
                movies,
                genres,
                named,
                {},
                "",
                _strategy(message) if message.speaker == "recommender" else "",
                "",
                "accept_rating_good",
                "accept_new",
                trailer,
            )
        )
    return rows


def _typed(message: Message, movies: dict[str, int], rng: np.random.Generator) -> tuple[str, str, list[str]]:
    """The text as typed, the same with placeholders, and the annotation of its films."""
    text, marked, annotated = "", "", []
    for part in message.parts:
        if isinstance(part, str):
            text, marked = text + part, marked + part
            continue
        typed = _title(part, rng)
        text += typed
        if isinstance(part, Unlisted) or rng.random() < 0.12:
            marked += typed
        else:
            annotated.append(part.label)
            marked += f"[MOVIE_TITLE_{movies.setdefault(part.label, len(movies))}]"
    return text, marked, list(dict.fromkeys(annotated))


def _title(reference: Reference, rng: np.random.Generator) -> str:
    if isinstance(reference, Unlisted):
        return reference.name
    draw = rng.random()
    if draw < 0.12:
        return reference.label
    if draw < 0.24:
        return reference.title.lower()
    return reference.title.split(":")[0] if draw < 0.34 else reference.title


def _strategy(message: Message) -> str:
    if message.references:
        return "offer_help"
    return "opinion_inquiry" if message.parts and str(message.parts[-1]).endswith("?") else "no_strategy"
