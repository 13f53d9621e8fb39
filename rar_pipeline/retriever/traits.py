"""What is known of movies beside their texts, as numbers that a score can use: genres, people, year, votes, rating; and what a talk asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.corpus.normalise import fold

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LONGEST_NAME = 4  # words of a person's name that is looked for; one word is none, since most are words of the language too
SHORTEST_NAME = 7  # its letters and blanks: there are people called "A Man" and "T. I."
MIDDLING = 6.0  # rating of a movie that nobody rated
BEFORE = 4  # words before a genre among which "no" or "not" refuses it
_WORD = re.compile(r"[^\W_]+")
_DECADE = re.compile(r"\b(19|20)?(\d)0['\u2019]?s\b")  # 80s, '80s, 1980s, 80's
_DECADES = {"fifties": 1950, "sixties": 1960, "seventies": 1970, "eighties": 1980, "nineties": 1990}
_NEW = frozenset(["latest", "modern", "new", "newer", "newest", "recent", "recently"])
_OLD = frozenset(["classic", "classics", "old", "older", "oldies", "vintage"])
_NOT = frozenset(["arent", "cant", "dislike", "dont", "except", "hate", "isnt", "no", "not", "t", "without"])  # t: of "don't"
# genres that sources call by several names
_SAME_GENRE = {
    "Animated": "Animation",
    "Children": "Family",
    "Comedies": "Comedy",
    "Documentaries": "Documentary",
    "Dramas": "Drama",
    "Historical": "History",
    "Kids": "Family",
    "Music": "Musical",
    "Science Fiction": "Sci-Fi",
    "Sports": "Sport",
    "Thrillers": "Thriller",
}
# what people say for a genre, beside its own name
_SAID = {
    "Action": "superhero superheroes",
    "Animation": "animated cartoon cartoons disney pixar",
    "Comedy": "comedies funny hilarious laugh",
    "Documentary": "documentaries",
    "Drama": "dramas",
    "Family": "kids children",
    "History": "historical",
    "Horror": "scary",
    "Musical": "musicals",
    "Romance": "romantic romcom",
    "Sci-Fi": "sci scifi science",
    "Sport": "sports",
    "Thriller": "thrillers suspense",
    "Western": "westerns",
}


@dataclass(frozen=True)
class Wish:
    """What a conversation asks for: numbers of genres and of people; in the seeker's words alone genres that are refused, decades (1980), and whether
    it shall be something new or something old.
    """

    genres: frozenset[int] = frozenset()
    people: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    decades: frozenset[int] = frozenset()
    new: bool = False
    old: bool = False


@dataclass(frozen=True, eq=False)
class Traits:
    """N movies: `genres` (N, G) uint8, `people` (N, P) sparse, 1 for directors and cast; `facts` as in the catalogue; `rating` (N,) 1 to 10.

    `words`: a word -> the genre that it asks for; `names`: a folded name -> number of the person.
    """

    genres: np.ndarray
    people: csr_array
    facts: np.ndarray
    rating: np.ndarray
    words: dict[str, int]
    names: dict[str, int]

    def wish(self, context: str) -> Wish:
        """What a conversation asks for, one turn a line, `Speaker: words`."""
        genres, people, refused, decades, times = set[int](), set[int](), set[int](), set[int](), set[str]()
        for line in context.split("\n"):
            speaker, _, said = line.partition(": ")
            words = _WORD.findall(fold(said))
            people |= {self.names[name] for name in _phrases(words) if name in self.names}
            seeker = speaker == "Seeker"
            for place, word in enumerate(words):
                if word in self.words:
                    no = seeker and not _NOT.isdisjoint(words[max(0, place - BEFORE) : place])
                    (refused if no else genres).add(self.words[word])
            if seeker:
                times.update(words)
                decades |= {_DECADES[word] for word in words if word in _DECADES} | set(_decades(said))
        return Wish(
            frozenset(genres),
            frozenset(people),
            frozenset(refused),
            frozenset(decades),
            not _NEW.isdisjoint(times),
            not _OLD.isdisjoint(times),
        )


def build_traits(movies: pl.DataFrame, facts: np.ndarray) -> Traits:
    """Traits of movies in the order of a catalogue; `movies` has genres, directors, cast and rating of the table MOVIES."""
    from scipy.sparse import csr_array

    listed = movies.select(row=pl.int_range(pl.len()), genre="genres").explode("genre").drop_nulls()
    listed = listed.with_columns(pl.col("genre").replace(_SAME_GENRE)).unique()
    number = {genre: place for place, genre in enumerate(listed["genre"].unique().sort())}
    genres = np.zeros((len(movies), len(number)), np.uint8)
    genres[listed["row"].to_numpy(), listed.select(pl.col("genre").replace_strict(number, return_dtype=pl.Int64))["genre"]] = 1
    words = {word: place for genre, place in number.items() if len(found := _WORD.findall(fold(genre))) == 1 for word in found}
    words |= {word: number[genre] for genre, said in _SAID.items() if genre in number for word in said.split()}

    people = pl.concat(
        [movies.select(row=pl.int_range(pl.len()), name=field).explode("name").drop_nulls() for field in ("directors", "cast")]
    ).unique()
    people = people.with_columns(person=pl.col("name").rank("dense").cast(pl.Int64) - 1)
    who = people.select("name", "person").unique().sort("person")
    folded = {" ".join(_WORD.findall(fold(name))): person for name, person in who.iter_rows()}
    shape = len(movies), len(who)
    ones = np.ones(len(people), np.float32)
    matrix = csr_array((ones, (people["row"].to_numpy(), people["person"].to_numpy())), shape=shape)
    rating = movies["rating"].fill_null(MIDDLING).to_numpy().astype(np.float32)
    names = {name: person for name, person in folded.items() if " " in name and len(name) >= SHORTEST_NAME}
    return Traits(genres, matrix, facts, rating, words, names)


def _decades(said: str) -> Iterator[int]:
    """Decades of a text that are written in figures; the 20s and later without a century are those of the 1900s."""
    for century, ten in _DECADE.findall(said.lower()):
        yield 100 * int(century or (19 if int(ten) >= 2 else 20)) + 10 * int(ten)


def _phrases(words: list[str]) -> Iterator[str]:
    for length in range(2, LONGEST_NAME + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])
