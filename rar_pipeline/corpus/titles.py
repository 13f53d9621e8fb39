"""The title index: every key under which a movie can be looked up, and the looser forms of a key.

Which key a mention is looked up under, and when a hit is believed, is link.py.
"""

from __future__ import annotations

import re
from functools import lru_cache

import polars as pl

from rar_pipeline.corpus.normalise import normalise_title
from rar_pipeline.tables import TITLES

STRONG = ("title", "original_title", "alias")
LOOSE = "loose"
SUBTITLE = "subtitle"
VARIANTS = (*STRONG, LOOSE, SUBTITLE)

_ROMAN = {
    "ii": "2",
    "iii": "3",
    "iv": "4",
    "v": "5",
    "vi": "6",
    "vii": "7",
    "viii": "8",
    "ix": "9",
    "x": "10",
    "xi": "11",
    "xii": "12",
    "xiii": "13",
}
_WORDS = dict(
    zip(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"],
        map(str, range(2, 14)),
        strict=True,
    )
)
_PART = {"part", "pt", "vol", "volume", "chapter", "episode"}
_FILLERS = {"and", "the", "a", "an"}
_CUT = re.compile(r"\s*(?::|\s[-–—]\s|;)\s*")


def with_numerals(key: str) -> str:
    """A normalised title with the numbers of sequels as digits: `"rocky ii"` and `"rocky 2"`, `"godfather part two"` and `"godfather 2"` agree."""
    words = key.split(" ")
    out: list[str] = []
    for place, word in enumerate(words):
        digit = _WORDS.get(word) or (_ROMAN.get(word) if place else None)
        if word == "i" and place and words[place - 1] in _PART:
            digit = "1"
        if (digit or word.isdigit()) and len(out) > 1 and out[-1] in _PART:
            out.pop()
        out.append(digit or word)
    return " ".join(out)


def loose_key(key: str) -> str:
    """A normalised title without blanks, "and" and articles, numbers as digits: "Spider-Man", "Spiderman" and "Spider Man" agree."""
    words = with_numerals(key).split(" ")
    return "".join(word for word in words if word not in _FILLERS) or "".join(words)


def numbers(key: str) -> frozenset[str]:
    """Numbers in a normalised title but 1: titles that differ in them are different films ("Toy Story", "Toy Story 3")."""
    return frozenset(word for word in re.findall(r"\d+", with_numerals(key)) if word != "1")


@lru_cache(maxsize=1 << 16)
def _parts(title: str) -> tuple[str, ...]:
    """What stands before and behind the first colon or dash; the part behind only where it is long enough to be a name."""
    if not (cut := _CUT.search(title)):
        return ()
    before, behind = normalise_title(title[: cut.start()]), normalise_title(title[cut.end() :])
    return (before, behind) if " " in behind and len(behind) > 8 else (before,)


def build_title_index(movies: pl.DataFrame, aliases: pl.DataFrame | None = None) -> pl.DataFrame:
    """The table `title_index` of a corpus.

    `movies` needs movie_id, title, original_title, year, votes (tables.MOVIES); `aliases` holds further titles (movie_id, title). A key that a movie
    has in several ways is kept once, under the strongest variant.
    """
    facts = movies.select("movie_id", pl.col("title").alias("shown"), "year", pl.col("votes").fill_null(0))
    named = [
        movies.select("movie_id", "title", pl.lit("title").alias("variant")),
        movies.select("movie_id", pl.col("original_title").alias("title"), pl.lit("original_title").alias("variant")),
    ]
    if aliases is not None:
        named.append(aliases.select("movie_id", "title", pl.lit("alias").alias("variant")))
    titles = pl.concat(named).drop_nulls("title")
    distinct = titles["title"].unique(maintain_order=True).to_list()
    keys = [normalise_title(title) for title in distinct]
    forms = pl.DataFrame(
        {
            "title": distinct,
            "key": keys,
            "loose": [loose_key(key) for key in keys],
            "parts": [list(_parts(title)) for title in distinct],
        },
        schema={"title": pl.String, "key": pl.String, "loose": pl.String, "parts": pl.List(pl.String)},
    )
    titles = titles.join(forms, on="title", how="left")
    rows = pl.concat(
        [
            titles.select("key", "movie_id", "variant"),
            titles.select(pl.col("loose").alias("key"), "movie_id", pl.lit(LOOSE).alias("variant")),
            titles.select(pl.col("parts").alias("key"), "movie_id", pl.lit(SUBTITLE).alias("variant")).explode("key"),
        ]
    ).filter(pl.col("key").is_not_null() & (pl.col("key") != ""))
    rows = rows.with_columns(pl.col("variant").cast(pl.Enum(VARIANTS)).to_physical().alias("rank"))
    rows = rows.sort("key", "movie_id", "rank").unique(["key", "movie_id"], keep="first", maintain_order=True)
    return TITLES.conform(rows.join(facts, on="movie_id", how="inner", maintain_order="left").rename({"shown": "title"}))
