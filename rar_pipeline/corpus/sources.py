"""Readers of the sources: raw files of one publisher to a frame of `tables.SOURCE_MOVIES`.

What a row means is in sql/corpus/<source>.sql; what no SQL can do to a string (HTML, years in titles, moved articles) is done here over distinct
values. Nothing is matched between sources: that is merge.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from rar_pipeline.corpus.engine import MEMORY
from rar_pipeline.corpus.excluded import bare
from rar_pipeline.corpus.normalise import normalised, plain_text, split_year
from rar_pipeline.corpus.people import long_title
from rar_pipeline.corpus.raw import RawFile, RawReader, located, raw_reader
from rar_pipeline.errors import RarError
from rar_pipeline.tables import SOURCE_MOVIES

LEADING_CAST = 10
SOURCES = ("imdb", "movielens", "wikidata", "omdb", "tmdb", "wikipedia", "streaming", "ggplot2movies")

_BASICS = RawFile(
    "imdb/title.basics.tsv",
    "\t",
    ("tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "runtimeMinutes", "genres"),
)
_RATINGS = RawFile("imdb/title.ratings.tsv", "\t", ("tconst", "averageRating", "numVotes"))
_CREW = RawFile("imdb/title.crew.tsv", "\t", ("tconst", "directors"))
_PRINCIPALS = RawFile("imdb/title.principals.tsv", "\t", ("tconst", "ordering", "nconst", "category"))
_NAMES = RawFile("imdb/name.basics.tsv", "\t", ("nconst", "primaryName"))
_ML_MOVIES = RawFile("movielens/ml-32m/movies.csv", ",", ("movieId", "title", "genres"))
_ML_LINKS = RawFile("movielens/ml-32m/links.csv", ",", ("movieId", "imdbId", "tmdbId"))
_WIKIPEDIA = RawFile(
    "wikipedia/movies-<decade>s.json",
    "json",
    ("title", "year", "cast", "genres"),
    (
        ("title", "VARCHAR"),
        ("year", "BIGINT"),
        ("cast", "VARCHAR[]"),
        ("genres", "VARCHAR[]"),
        ("href", "VARCHAR"),
        ("extract", "VARCHAR"),
    ),
)
_ARTICLES = RawFile(
    "wikipedia/articles.jsonl",
    "jsonl",
    ("imdb", "item", "title"),
    (
        ("imdb", "VARCHAR"),
        ("item", "VARCHAR"),
        ("title", "VARCHAR"),
        ("year", "BIGINT"),
        ("extract", "VARCHAR"),
        ("plot", "VARCHAR"),
    ),
)
_WIKIDATA = RawFile(
    "wikidata/films.jsonl",
    "jsonl",
    ("item", "imdb"),
    (("item", "VARCHAR"), ("imdb", "VARCHAR"), ("enwiki", "VARCHAR"), ("label", "VARCHAR"), ("year", "VARCHAR")),
)
_TMDB = RawFile(
    "tmdb/movies.jsonl",
    "jsonl",
    ("id", "title"),
    (
        ("id", "BIGINT"),
        ("imdb_id", "VARCHAR"),
        ("title", "VARCHAR"),
        ("original_title", "VARCHAR"),
        ("release_date", "VARCHAR"),
        ("runtime", "BIGINT"),
        ("adult", "BOOLEAN"),
        ("genres", "STRUCT(name VARCHAR)[]"),
        ("overview", "VARCHAR"),
        ("credits", 'STRUCT("cast" STRUCT(name VARCHAR, "order" BIGINT)[], crew STRUCT(name VARCHAR, job VARCHAR)[])'),
    ),
)
_OMDB = RawFile(
    "omdb/movies.jsonl",
    "jsonl",
    ("imdbID", "Title"),
    tuple(
        (name, "VARCHAR")
        for name in (
            *("imdbID", "Title", "Year", "Genre", "Director", "Actors", "Plot"),
            *("Runtime", "imdbRating", "imdbVotes", "Type"),
        )
    ),
)
_CATALOGUES = ("netflix", "disney_plus", "hulu", "amazon_prime")
_GGPLOT = RawFile(
    "ggplot2movies/movies.csv",
    ",",
    (
        *("rownames", "title", "year", "length", "rating", "votes", "Short"),
        *("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance"),
    ),
)

# one word of a name as an article's lead writes it, and names joined by commas and "and"
_WORD = r"(?:(?:\p{Lu}\.)+|\p{Lu}[\pL'’\-]+|Jr\.|Sr\.)"
_NAME = rf"{_WORD}(?: (?:{_WORD}|de|von|van|der|del|di|la|le))+"
_DIRECTED_BY = rf"\bdirected(?:,? and \w+|, \w+(?:,? and \w+)?)? by ({_NAME}(?:(?:,? and |, ){_NAME})*)"

_UNTIDY = r"[&<\x{200b}]|\s\s|^\s|\s$|[\n\r\t]"
_AKA = re.compile(r"\s+\(([^()]+)\)\s*$")
_DISAMBIGUATION = re.compile(r"\s*\((?:[^()]*\b)?(?:film|movie|documentary|video|TV special)\)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceRead:
    """What one source gives: records, how many rows were left out and why, and (IMDb only) the titles that must stay out."""

    source: str
    frame: pl.DataFrame  # tables.SOURCE_MOVIES
    dropped: dict[str, int] = field(default_factory=dict)
    excluded: pl.DataFrame = field(default_factory=SOURCE_MOVIES.empty)  # tables.SOURCE_MOVIES, `kind` says why


def read_source(source: str, files: Mapping[str, Path], kinds: tuple[str, ...], memory: str = MEMORY) -> SourceRead:
    """Records of one source.

    `files` maps names of the publishers' layout without .gz ("imdb/title.basics.tsv") to local paths that may end in .gz; `kinds` are the IMDb
    kinds of title to keep; `memory` is what DuckDB may hold before it spills to disk. Files of the optional sources may be absent and give an
    empty frame. Raises RarError where title.basics is absent, or a file is cut short, malformed or has another schema.
    """
    if source not in _READERS:
        raise RarError(f"source {source!r}: unknown; expected one of {', '.join(SOURCES)}")
    with raw_reader(memory) as reader:
        return _READERS[source](reader, files, kinds)


def _finish(reader: RawReader, source: str, frame: pl.DataFrame, **reasons: int) -> SourceRead:
    dropped = {**reader.dropped, **{reason.replace("_", " "): count for reason, count in reasons.items() if count}}
    total = frame.height
    frame = frame.filter(pl.col("source_id").is_not_null() & (pl.col("source_id") != "") & pl.col("title").is_not_null())
    if total > frame.height:
        dropped["no id or title"] = dropped.get("no id or title", 0) + total - frame.height
    frame = frame.sort("source_id", "imdb_id", "title", "plot", nulls_last=True)
    repeated = frame["source_id"] == frame["source_id"].shift()
    if count := int(repeated.sum()):
        dropped["duplicate id"] = count
        frame = frame.filter(~repeated.fill_null(False))
    return SourceRead(source, frame, dropped)


def _shaped(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of SOURCE_MOVIES: absent ones null, strings tidy or null, lists without blanks or repeats and never null."""
    columns = []
    for name, dtype in SOURCE_MOVIES.schema.items():
        column = pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        if isinstance(dtype, pl.List):
            entries = column.list.eval(pl.element().str.strip_chars().replace("", None).drop_nulls())
            if name == "genres":
                entries = entries.list.eval(_capital(pl.element()))
            entries = entries.list.unique(maintain_order=True)
            if name == "cast":
                entries = entries.list.head(LEADING_CAST)
            column = entries.fill_null(pl.lit([], dtype=dtype)).alias(name)
        columns.append(column)
    frame = frame.select(columns)
    return frame.with_columns(_replaced(frame[name], plain_text) for name in ("title", "original_title", "plot"))


def _capital(genre: pl.Expr) -> pl.Expr:
    """Genres that a source writes in small letters ("drama", "sci-fi") as the others write them."""
    return pl.when(genre == genre.str.to_lowercase()).then(genre.str.to_titlecase()).otherwise(genre)


def _replaced(values: pl.Series, rule: Callable[[str], str]) -> pl.Series:
    changed = normalised(values.filter(values.str.contains(_UNTIDY).fill_null(False)), rule)
    tidy = values.replace(changed["text"], changed["key"]) if changed.height else values
    return tidy.replace("", None)


def _read_imdb(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    if _BASICS.name not in files:
        raise RarError(
            f"{_BASICS.name}: missing; the corpus needs at least this file, in the publisher's layout (it may end in .gz)"
        )
    reader.read("imdb_listed", _BASICS, located(files, _BASICS), kinds=list(kinds))
    left_out = reader.con.sql(
        "SELECT CASE WHEN NOT titled THEN 'no title' WHEN adult THEN 'adult' ELSE coalesce('kind ' || kind, 'no kind') END, count(*) "
        "FROM imdb_listed WHERE NOT kept GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    reader.make("imdb_ids")
    reader.make("imdb_titles")
    reader.drop("imdb_listed")
    reader.read("imdb_ratings", _RATINGS, located(files, _RATINGS))
    reader.read("imdb_directors", _CREW, located(files, _CREW))
    reader.read("imdb_principals", _PRINCIPALS, located(files, _PRINCIPALS))
    reader.read("imdb_names", _NAMES, located(files, _NAMES))
    reader.make("imdb")
    reader.drop("imdb_titles", "imdb_ratings", "imdb_directors", "imdb_principals", "imdb_names")
    # one after the other: at full size each takes a gigabyte while it is shaped
    reader.make("imdb_excluded")
    read = _finish(reader, "imdb", _shaped(reader.con.sql("SELECT * FROM imdb WHERE kept").pl()))
    reader.drop("imdb")
    described = _shaped(reader.con.sql("SELECT * FROM imdb_excluded ORDER BY source_id").pl())
    ids = reader.con.sql("SELECT tconst AS source_id, kind FROM imdb_ids ORDER BY tconst").pl()
    dropped = {**read.dropped, **{str(reason): int(count) for reason, count in left_out}}
    return SourceRead("imdb", read.frame, dropped, pl.concat([described, bare(ids)], rechunk=False))


def _read_movielens(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    reader.read("movielens_links", _ML_LINKS, located(files, _ML_LINKS))
    reader.read("movielens", _ML_MOVIES, located(files, _ML_MOVIES))
    frame = reader.con.sql("SELECT * FROM movielens").pl()
    titled = [_movielens_title(title) for title in frame["title"].to_list()]
    names = pl.DataFrame(titled, schema={"title": pl.String, "original_title": pl.String, "year": pl.Int64}, orient="row")
    return _finish(reader, "movielens", _shaped(frame.drop("title").hstack(names)))


def _movielens_title(text: str | None) -> tuple[str | None, str | None, int | None]:
    """`"City of Lost Children, The (Cité des enfants perdus, La) (1995)"` in its parts: title, title in brackets, year."""
    if text is None:
        return None, None, None
    title, year = split_year(text.strip())
    other = None
    while found := _AKA.search(title):
        if not found.start():
            break
        other = re.sub(r"^a\.?k\.?a\.?:?\s*", "", found[1])
        title = title[: found.start()]
    return long_title(title), other and long_title(other), year


def _read_wikipedia(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    paths = [path for name, path in sorted(files.items()) if re.fullmatch(r"wikipedia/movies-\d{4}s\.json", name)]
    reader.read("wikipedia", _WIKIPEDIA, paths, directed_by=_DIRECTED_BY)
    frame = _shaped(reader.con.sql("SELECT * FROM wikipedia").pl())
    if articles := located(files, _ARTICLES):
        reader.read("wikipedia_articles", _ARTICLES, articles, directed_by=_DIRECTED_BY)
        found = reader.con.sql("SELECT * FROM wikipedia_articles").pl()
        titles = normalised(found["title"], _article_title)
        frame = pl.concat([frame, _shaped(found.with_columns(found["title"].replace(titles["text"], titles["key"])))])
    shorts = pl.col("genres").list.contains("Short")
    return _finish(reader, "wikipedia", frame.filter(~shorts), genre_Short=frame.filter(shorts).height)


def _read_wikidata(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    reader.read("wikidata", _WIKIDATA, located(files, _WIKIDATA))
    frame = _shaped(reader.con.sql("SELECT * FROM wikidata").pl())
    return _finish(
        reader, "wikidata", frame.with_columns(pl.col("original_title").map_elements(_article_title, return_dtype=pl.String))
    )


def _article_title(text: str) -> str:
    return _DISAMBIGUATION.sub("", text)


def _read_tmdb(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    reader.read("tmdb", _TMDB, located(files, _TMDB))
    frame = reader.con.sql("SELECT * FROM tmdb").pl()
    adult = frame["adult"].fill_null(False)
    return _finish(reader, "tmdb", _shaped(frame.filter(~adult)), adult=int(adult.sum()))


def _read_omdb(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    reader.read("omdb", _OMDB, located(files, _OMDB))
    frame = reader.con.sql("SELECT * FROM omdb").pl()
    other = (frame["type"] != "movie").fill_null(False)
    return _finish(reader, "omdb", _shaped(frame.filter(~other)), other_types=int(other.sum()))


def _read_streaming(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    frames = []
    for catalogue in _CATALOGUES:
        needed = ("show_id", "type", "title", "director", "cast", "release_year", "duration", "description")
        raw = RawFile(f"streaming/{catalogue}_titles.csv", ",", needed)
        reader.read("streaming", raw, located(files, raw), catalogue=catalogue)
        frames.append(reader.con.sql("SELECT * FROM streaming").pl())
        reader.con.execute("DROP TABLE streaming")
    frame = pl.concat(frames)
    other = (frame["type"] != "Movie").fill_null(True)
    return _finish(reader, "streaming", _shaped(frame.filter(~other)), other_types=int(other.sum()))


def _read_ggplot2movies(reader: RawReader, files: Mapping[str, Path], kinds: tuple[str, ...]) -> SourceRead:
    reader.read("ggplot2movies", _GGPLOT, located(files, _GGPLOT))
    frame = reader.con.sql("SELECT * FROM ggplot2movies").pl()
    titles = normalised(frame["title"], long_title)
    frame = frame.with_columns(frame["title"].replace(titles["text"], titles["key"]))
    return _finish(reader, "ggplot2movies", _shaped(frame.filter(~pl.col("short"))), Short=frame.filter("short").height)


_READERS: dict[str, Callable[[RawReader, Mapping[str, Path], tuple[str, ...]], SourceRead]] = {
    "imdb": _read_imdb,
    "movielens": _read_movielens,
    "wikipedia": _read_wikipedia,
    "wikidata": _read_wikidata,
    "tmdb": _read_tmdb,
    "omdb": _read_omdb,
    "streaming": _read_streaming,
    "ggplot2movies": _read_ggplot2movies,
}
