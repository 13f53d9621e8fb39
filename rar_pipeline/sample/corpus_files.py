"""Raw files about films: IMDb's bulk files, MovieLens, Wikipedia, Wikidata, TMDB and OMDb, in their publishers' layouts and dirt.

As in reality IMDb has no plots and is incomplete, and no other source knows all films: what a film's row in the corpus needs is
spread over them. Every film's plot is in at least one source that also names its IMDb id.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rar_pipeline.sample.extras import Extra, extras
from rar_pipeline.sample.films import Film, person_ids
from rar_pipeline.sample.raw import NULL, write_csv, write_jsonl, write_text, write_tsv

_MOVIELENS_GENRES = {"Family": "Children", "Music": "Musical", "Biography": "", "History": "", "Sport": ""}
_TMDB_GENRES = {"Sci-Fi": "Science Fiction", "Musical": "Music", "Biography": "", "Film-Noir": "", "Sport": ""}
_WIKIPEDIA_GENRES = {"Sci-Fi": "Science Fiction", "Biography": "Biographical", "History": "Historical", "Sport": "Sports"}
_ARTICLE = re.compile(r"^(The|A|An|La|Le|Les|Il|Der|Das|El) (.+)$")


@dataclass(frozen=True)
class Coverage:
    """Which sources know what of one film."""

    principals: bool  # IMDb lists its cast
    movielens: bool
    linked: bool  # MovieLens gives its IMDb id
    wikipedia: bool
    wikidata: bool
    tmdb: bool
    identified: bool  # TMDB gives its IMDb id
    overview: bool  # TMDB has its plot
    omdb: bool
    told: bool  # OMDb has its plot


def draw_coverage(rng: np.random.Generator) -> Coverage:
    """The sources of one film; TMDB steps in where nobody else would have its plot under its IMDb id."""
    draws = rng.random(10) < np.array([0.88, 0.92, 0.95, 0.45, 0.85, 0.9, 0.95, 0.8, 0.6, 0.55])
    principals, movielens, linked, wikipedia, wikidata, tmdb, identified, overview, omdb, told = (bool(draw) for draw in draws)
    if not (tmdb and identified and overview) and not (omdb and told):
        tmdb = identified = overview = True
    return Coverage(principals, movielens, linked, wikipedia, wikidata, tmdb, identified, overview, omdb, told)


def write_corpus_files(folder: Path, films: Sequence[Film], rng: np.random.Generator) -> None:
    """All files about films below `folder`, in the layout of a mirror."""
    others = extras(films)
    covered = [(film, draw_coverage(rng)) for film in films]
    _imdb(folder / "imdb", covered, others, rng)
    _movielens(folder / "movielens" / "ml-32m", covered, rng)
    _wikipedia(folder / "wikipedia", covered, others)
    _wikidata(folder / "wikidata", covered, rng)
    _tmdb(folder / "tmdb", covered, rng)
    _omdb(folder / "omdb", covered, others)


Covered = Sequence[tuple[Film, Coverage]]


def _imdb(folder: Path, covered: Covered, others: Sequence[Extra], rng: np.random.Generator) -> None:
    films = [film for film, _ in covered]
    ids = person_ids(films)
    invented = sorted({name for other in others for name in (other.director, other.lead) if name})
    ids |= {name: f"nm{9_000_001 + place}" for place, name in enumerate(invented) if name not in ids}

    def title(text: str) -> str:
        return text.replace("&", "&amp;") if "&" in text and rng.random() < 0.5 else text

    write_tsv(
        folder / "title.basics.tsv",
        ("tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "endYear", "runtimeMinutes", "genres"),
        [
            *(
                (f.imdb_id, f.kind, title(f.title), title(f.original_title), 0, f.year, NULL,
                 f.runtime if rng.random() < 0.97 else NULL, ",".join(f.genres))
                for f in films
            ),
            *(
                (o.imdb_id, o.kind, o.title, o.title, int(o.adult), o.year or NULL, NULL, o.runtime or NULL,
                 ",".join(o.genres) or NULL)
                for o in others
            ),
        ],
    )  # fmt: skip
    write_tsv(
        folder / "title.ratings.tsv",
        ("tconst", "averageRating", "numVotes"),
        [*((f.imdb_id, f.rating, f.votes) for f in films), *((o.imdb_id, 6.1, o.votes) for o in others if o.votes)],
    )
    write_tsv(
        folder / "title.crew.tsv",
        ("tconst", "directors", "writers"),
        [
            *((f.imdb_id, ",".join(ids[name] for name in f.directors), NULL) for f in films),
            *((o.imdb_id, ids[o.director] if o.director else NULL, NULL) for o in others),
        ],
    )
    principals: list[tuple[object, ...]] = []
    for film, coverage in covered:
        credits = [(name, "actor") for name in film.cast] + [(name, "director") for name in film.directors]
        if coverage.principals:
            principals += [
                (film.imdb_id, place, ids[name], category, NULL, NULL) for place, (name, category) in enumerate(credits, 1)
            ]
    principals += [(o.imdb_id, 1, ids[o.lead], "actress", NULL, '["Self"]') for o in others if o.lead]
    write_tsv(folder / "title.principals.tsv", ("tconst", "ordering", "nconst", "category", "job", "characters"), principals)
    known_for: dict[str, list[str]] = {name: [] for name in ids}
    for film in films:
        for name in film.people:
            known_for[name].append(film.imdb_id)
    directing = {name for film in films for name in film.directors}
    write_tsv(
        folder / "name.basics.tsv",
        ("nconst", "primaryName", "birthYear", "deathYear", "primaryProfession", "knownForTitles"),
        [
            (nconst, name, NULL, NULL, "director" if name in directing else "actor", ",".join(known_for[name][:4]) or NULL)
            for name, nconst in sorted(ids.items(), key=lambda item: item[1])
            if rng.random() < 0.96  # some ids have no row, as in partial copies
        ],
    )
    for file, header in (
        ("title.akas.tsv", "titleId ordering title region language types attributes isOriginalTitle"),
        ("title.episode.tsv", "tconst parentTconst seasonNumber episodeNumber"),
    ):
        write_tsv(folder / file, header.split(), [])


def _movielens(folder: Path, covered: Covered, rng: np.random.Generator) -> None:
    movies: list[tuple[object, ...]] = []
    links: list[tuple[object, ...]] = []
    for film, coverage in covered:
        if not coverage.movielens:
            continue
        title = _ARTICLE.sub(r"\2, \1", film.title)
        if film.original_title != film.title:
            title += f" ({film.original_title})"
        year = f" ({film.year})" if rng.random() < 0.99 else ""
        genres = [genre for genre in (_MOVIELENS_GENRES.get(genre, genre) for genre in film.genres) if genre]
        movies.append((film.movielens_id, title + year, "|".join(genres) or "(no genres listed)"))
        if coverage.linked:
            links.append((film.movielens_id, film.imdb_id[2:], film.tmdb_id if rng.random() < 0.98 else ""))
    write_csv(folder / "movies.csv", ("movieId", "title", "genres"), movies)
    write_csv(folder / "links.csv", ("movieId", "imdbId", "tmdbId"), links)


def _wikipedia(folder: Path, covered: Covered, others: Sequence[Extra]) -> None:
    decades: dict[int, list[dict[str, object]]] = {}
    for film, coverage in covered:
        if coverage.wikipedia:
            record: dict[str, object] = {
                "title": film.title,
                "year": film.year,
                "cast": list(film.cast),
                "genres": [_WIKIPEDIA_GENRES.get(genre, genre) for genre in film.genres],
                "href": film.title.replace(" ", "_") + ("_(film)" if film.number % 5 == 0 else ""),
                "extract": film.plot,
            }
            decades.setdefault(film.year // 10 * 10, []).append(record)
    for other in others:
        if other.kept and other.year:
            record = {"title": html.unescape(other.title), "year": other.year, "cast": [other.lead] if other.lead else []}
            decades.setdefault(other.year // 10 * 10, []).append(record | {"genres": list(other.genres), "href": None})
    for decade, records in sorted(decades.items()):
        records.sort(key=lambda record: (record["year"], str(record["title"])))
        write_text(folder / f"movies-{decade}s.json", json.dumps(records, indent=2, ensure_ascii=False))


def _wikidata(folder: Path, covered: Covered, rng: np.random.Generator) -> None:
    write_jsonl(
        folder / "films.jsonl",
        (
            {
                "item": film.wikidata_id,
                "imdb": film.imdb_id,
                "enwiki": film.title
                + ("" if rng.random() < 0.7 else " (film)" if rng.random() < 0.5 else f" ({film.year} film)"),
                "label": film.title,
                "year": film.year if rng.random() < 0.98 else None,
            }
            for film, coverage in covered
            if coverage.wikidata
        ),
    )


def _tmdb(folder: Path, covered: Covered, rng: np.random.Generator) -> None:
    write_jsonl(
        folder / "movies.jsonl",
        (
            {
                "id": film.tmdb_id,
                "imdb_id": film.imdb_id if coverage.identified else None,
                "title": film.title,
                "release_date": str(film.year)
                + ("-01-01" if rng.random() < 0.6 else ""),  # TMDB's date where only the year is known
                "genres": [{"name": name} for name in (_TMDB_GENRES.get(genre, genre) for genre in film.genres) if name],
                "overview": (html.escape(film.plot) if rng.random() < 0.1 else film.plot) if coverage.overview else "",
                "credits": {
                    "cast": [{"name": name, "order": order} for order, name in enumerate(film.cast)],
                    "crew": [{"name": name, "job": "Director"} for name in film.directors],
                },
            }
            for film, coverage in covered
            if coverage.tmdb
        ),
    )


def _omdb(folder: Path, covered: Covered, others: Sequence[Extra]) -> None:
    known = [
        {
            "imdbID": film.imdb_id,
            "Title": film.title if film.number % 97 else None,
            "Year": str(film.year) if film.number % 61 else "N/A",
            "Genre": ", ".join(film.genres) if film.number % 23 else "N/A",
            "Director": ", ".join(film.directors) if film.number % 17 else "N/A",
            "Actors": ", ".join(film.cast) if film.number % 19 else "N/A",
            "Plot": film.plot if coverage.told else "N/A",
            "Type": "movie",
            "Response": "True",
        }
        for film, coverage in covered
        if coverage.omdb
    ]
    unknown = [
        {
            "imdbID": other.imdb_id,
            "Title": html.unescape(other.title),
            "Year": str(other.year or "N/A"),
            "Genre": ", ".join(other.genres) or "N/A",
            "Director": other.director or "N/A",
            "Actors": other.lead or "N/A",
            "Plot": "N/A",
            "Type": "movie",
            "Response": "True",
        }
        for other in others
        if other.kept
    ]
    write_jsonl(folder / "movies.jsonl", [*known, *unknown])
