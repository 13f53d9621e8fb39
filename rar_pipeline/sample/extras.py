"""Invented titles that no conversation is about: what a corpus must leave out, and films that nobody knows.

IMDb's files are full of both. `kept` says which of them belong into a corpus of movies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rar_pipeline.sample.films import KINDS, Film

FIRST_NUMBER = 900_001
"""The first extra is tt0900001: far from the films', so that neither list moves the other's ids."""


@dataclass(frozen=True)
class Extra:
    """One title of IMDb's list with the little that is known of it; None where IMDb has no value."""

    number: int
    kind: str
    title: str
    year: int | None
    adult: bool
    runtime: int | None
    genres: tuple[str, ...]
    director: str | None
    lead: str | None
    votes: int | None

    @property
    def imdb_id(self) -> str:
        """The letters tt and seven digits, the sample's own numbering."""
        return f"tt{self.number:07d}"

    @property
    def kept(self) -> bool:
        """Whether it is a movie that a corpus should have."""
        return self.kind in KINDS and not self.adult


_INVENTED: tuple[tuple[str, str, int | None, bool, int | None, str, str | None, str | None, int | None], ...] = (
    ("short", "Three Minutes of Rain", 1998, False, 3, "Documentary,Short", "Ilse Varnholt", None, 41),
    ("short", "The Umbrella Mender", 2006, False, 12, "Drama,Short", "Ilse Varnholt", "Tobin Achterberg", 88),
    ("short", "Salt &amp; Pepper Shakers", 2011, False, 7, "Animation,Comedy,Short", None, None, None),
    ("tvShort", "A Lantern for Odile", 1987, False, 24, "Animation,Short", "Matteo Brusk", None, 63),
    ("tvSeries", "Harbour Street Clinic", 2003, False, 45, "Drama", None, "Yusra Hallam", 5120),
    ("tvSeries", "The Weatherby Files", 2014, False, 50, "Crime,Mystery", None, "Tobin Achterberg", 18400),
    ("tvMiniSeries", "Winter of the Glassblowers", 2019, False, 55, "Drama,History", "Matteo Brusk", "Yusra Hallam", 2210),
    ("tvEpisode", "Pilot", 2003, False, 45, "Drama", "Ilse Varnholt", "Yusra Hallam", 310),
    ("tvEpisode", "The Long Corridor", 2014, False, 50, "Crime,Mystery", "Matteo Brusk", "Tobin Achterberg", 705),
    ("tvSpecial", "An Evening of Slow Jokes", 2016, False, 62, "Comedy", None, "Perrin Okafor-Lund", 154),
    ("videoGame", "Tollbooth Racer II", 2009, False, None, "Action", None, None, 930),
    ("movie", "Night Shift Fantasies", 1994, True, 78, "Adult", None, None, 52),
    ("video", "Private Lessons in Latin", 2001, True, 81, "Adult", None, None, 37),
    ("movie", "Untitled Winter Project", None, False, None, "", "Ilse Varnholt", None, None),
    ("movie", "The Second Cartographer", None, False, None, "Drama", "Matteo Brusk", None, None),
    ("movie", "Fathoms Below the Mill", 1974, False, 96, "Drama,Mystery", "Ilse Varnholt", "Tobin Achterberg", 112),
    ("movie", "Brass &amp; Willow", 1988, False, 102, "Drama,Music", "Matteo Brusk", "Perrin Okafor-Lund", 73),
    ("movie", "Les souliers d'Antonin", 1962, False, 88, "Comedy,Romance", "Édouard Pelhâtre", "Noëlle Fabrizy", 240),
    ("movie", "The Accountant's Ghost", 2012, False, 91, "Comedy,Fantasy", "Perrin Okafor-Lund", "Yusra Hallam", 1330),
    ("movie", "Goatherd of Mount Brann", 1935, False, None, "Western", None, None, 21),
    ("movie", "Seventeen Locks", 2020, False, 109, "Thriller", "Ilse Varnholt", "Yusra Hallam", 890),
    ("tvMovie", "A Parish Divided", 1991, False, 94, "Drama", "Matteo Brusk", "Noëlle Fabrizy", 145),
    ("tvMovie", "The Reindeer Who Stayed", 2008, False, 84, "Family", None, "Tobin Achterberg", 402),
    ("video", "Ninja Librarian 2", 1996, False, 79, "Action,Comedy", "Perrin Okafor-Lund", None, 66),
)
# a series, a game and a short that bear a known film's name: the film must be found, not them
_NAMESAKES = ("tvSeries", "videoGame", "short")


def extras(films: Sequence[Film]) -> tuple[Extra, ...]:
    """All extras: the invented titles, and namesakes of the films with most votes, ten years later."""
    known = sorted(films, key=lambda film: (-film.votes, film.number))[: 2 * len(_NAMESAKES)]
    rows = [
        *_INVENTED,
        *(
            (_NAMESAKES[place % len(_NAMESAKES)], film.title, film.year + 10, False, None, "Drama", None, None, 900 + place)
            for place, film in enumerate(known)
        ),
    ]
    return tuple(
        Extra(
            FIRST_NUMBER + place, kind, title, year, adult, runtime, tuple(filter(None, genres.split(","))), director, lead, votes
        )
        for place, (kind, title, year, adult, runtime, genres, director, lead, votes) in enumerate(rows)
    )
