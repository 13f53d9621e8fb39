"""The films of the sample world: facts about known films with plot lines written for this project.

Here: reading and checking `films_*.jsonl`, and the ids of the sample world. **Every id is the sample's own numbering**, in the
publishers' shapes but not their values: tt0000001 is the first film of this list by (year, title), not IMDb's. The numberings run
apart from each other on purpose, so that a join on the wrong id finds nothing right. Not here: conversations, file formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rar_pipeline.errors import RarError

FOLDER = Path(__file__).parent
KINDS = ("movie", "tvMovie", "video")
_GENRES = (
    "Action Adventure Animation Biography Comedy Crime Documentary Drama Family Fantasy Film-Noir History Horror Music Musical "
    "Mystery Romance Sci-Fi Sport Thriller War Western"
)
GENRES = frozenset(_GENRES.split())
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "original_title": (str, type(None)),
    "year": int,
    "kind": str,
    "runtime": int,
    "genres": list,
    "directors": list,
    "cast": list,
    "rating": (int, float),
    "votes": int,
    "plot": str,
}


@dataclass(frozen=True)
class Film:
    """One film: its facts, and `number`, its place (from 1) by (year, title) that all ids are made from."""

    number: int
    title: str
    original_title: str
    year: int
    kind: str
    runtime: int  # minutes
    genres: tuple[str, ...]
    directors: tuple[str, ...]
    cast: tuple[str, ...]
    rating: float  # 1 to 10
    votes: int
    plot: str

    @property
    def label(self) -> str:
        """Title and year as people write it: `Heat (1995)`."""
        return f"{self.title} ({self.year})"

    @property
    def people(self) -> tuple[str, ...]:
        """Directors, then cast, each name once."""
        return tuple(dict.fromkeys(self.directors + self.cast))

    @property
    def imdb_id(self) -> str:
        """The letters tt and seven digits, the sample's own numbering."""
        return f"tt{self.number:07d}"

    @property
    def tmdb_id(self) -> int:
        """In TMDB's shape, the sample's own numbering."""
        return 20_011 + 7 * self.number

    @property
    def movielens_id(self) -> int:
        """In MovieLens' shape, the sample's own numbering."""
        return 3 * self.number + 1

    @property
    def wikidata_id(self) -> str:
        """In Wikidata's shape, the sample's own numbering."""
        return f"Q{900_001 + 13 * self.number}"

    @property
    def redial_id(self) -> int:
        """In ReDial's shape, the sample's own numbering."""
        return 80_007 + 11 * self.number


def load_films(folder: Path = FOLDER) -> tuple[Film, ...]:
    """All films of `folder/films_*.jsonl`, in the order of (year, title).

    Raises RarError, naming file and line, for a record that is not a film, and for a film that is listed twice.
    """
    paths = sorted(folder.glob("films_*.jsonl"))
    if not paths:
        raise RarError(f"{folder}: no films_*.jsonl; the sample world needs its list of films")
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            record = _checked(line, f"{path.name}:{number}")
            key = (record["year"], record["title"])
            if key in found:
                raise RarError(f"{path.name}:{number}: {record['title']} ({record['year']}) is listed twice; keep one")
            found[key] = record
    return tuple(
        Film(
            number=number,
            title=record["title"],
            original_title=record["original_title"] or record["title"],
            year=record["year"],
            kind=record["kind"],
            runtime=record["runtime"],
            genres=tuple(record["genres"]),
            directors=tuple(record["directors"]),
            cast=tuple(record["cast"]),
            rating=float(record["rating"]),
            votes=record["votes"],
            plot=record["plot"],
        )
        for number, (_, record) in enumerate(sorted(found.items()), start=1)
    )


def person_ids(films: Iterable[Film]) -> dict[str, str]:
    """Name -> nconst for everybody in `films`, in the order of names; the sample's own numbering."""
    names = sorted({name for film in films for name in film.people})
    return {name: f"nm{number:07d}" for number, name in enumerate(names, start=1)}


def _checked(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise RarError(f"{place}: not JSON ({error.msg}); one film an object, one object a line") from None
    if not isinstance(record, dict) or record.keys() != _FIELDS.keys():
        raise RarError(f"{place}: expected an object with exactly the fields {', '.join(_FIELDS)}")
    for field, expected in _FIELDS.items():
        if not isinstance(record[field], expected) or isinstance(record[field], bool):
            raise RarError(f"{place}: {field} is {record[field]!r}, of the wrong type")
    for field, fine, wanted in (
        ("title", record["title"].strip() == record["title"] != "", "a title without blanks around it"),
        ("year", 1880 <= record["year"] <= 2030, "a year of film"),
        ("kind", record["kind"] in KINDS, f"one of {', '.join(KINDS)}"),
        ("runtime", 40 <= record["runtime"] <= 600, "minutes"),
        ("genres", bool(record["genres"]) and set(record["genres"]) <= GENRES, "genres of IMDb's list"),
        ("directors", _names(record["directors"]), "a list of names"),
        ("cast", _names(record["cast"]), "a list of names"),
        ("rating", 1 <= record["rating"] <= 10, "1 to 10"),
        ("votes", record["votes"] > 0, "a positive count"),
        ("plot", len(record["plot"].split()) >= 8, "a plot line"),
    ):
        if not fine or any(mark in str(record[field]) for mark in "\t\n"):
            raise RarError(f"{place}: {field} is {record[field]!r}, expected {wanted}")
    return record


def _names(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) and value.strip() for value in values)
