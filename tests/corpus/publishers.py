"""Tiny raw files in the publishers' formats, made by hand, with their typical dirt."""

import csv
import gzip
import json
from pathlib import Path

BASICS = ["tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "endYear", "runtimeMinutes", "genres"]
N = r"\N"

TITLES = [
    ["tt0133093", "movie", "The Matrix", "The Matrix", "0", "1999", N, "136", "Action,Sci-Fi"],
    ["tt0078748", "movie", "Alien", "Alien", "0", "1979", N, "117", "Horror,Sci-Fi"],
    ["tt0090605", "movie", "Aliens", "Aliens", "0", "1986", N, "137", "Action,Sci-Fi"],
    ["tt0018773", "movie", "The Circus", "The Circus", "0", "1928", N, "72", "Comedy"],
    ["tt0000001", "short", "Carmencita", "Carmencita", "0", "1894", N, "1", "Short"],
    ["tt0041038", "tvSeries", "The Lone Ranger", "The Lone Ranger", "0", "1949", N, "30", "Western"],
    ["tt0099999", "movie", "Late Night", "Late Night", "1", "1990", N, "80", "Adult"],
    ["tt0211915", "movie", 'Amélie "Poulain"', "Le fabuleux destin d'Amélie Poulain", "0", "2001", N, "122", "Comedy"],
    ["tt0022222", "movie", "Hero", "Hero", "0", "2000", N, "90", N],
    ["tt0033333", "movie", "Hero", "Hero", "0", "2000", N, "120", N],
]


def tsv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join("\t".join(row) + "\n" for row in [header, *rows])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def comma(path: Path, rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def write_all(root: Path) -> dict[str, Path]:
    """Every source; keys are names of the layout without .gz."""
    shows = ["show_id", "type", "title", "director", "cast", "country", "date_added", "release_year", "rating", "duration"]
    return {
        "imdb/title.basics.tsv": tsv(root / "imdb/title.basics.tsv.gz", BASICS, [*TITLES, ["tt0044444", "movie", "cut off"]]),
        "imdb/title.ratings.tsv": tsv(
            root / "imdb/title.ratings.tsv",
            ["tconst", "averageRating", "numVotes"],
            [
                ["tt0133093", "8.7", "1900000"],
                ["tt0078748", "8.5", "900000"],
                ["tt0022222", "5.0", "10"],
                ["tt0041038", "7.7", "99"],
            ],
        ),
        "imdb/title.crew.tsv": tsv(
            root / "imdb/title.crew.tsv",
            ["tconst", "directors", "writers"],
            [["tt0133093", "nm2,nm1", N], ["tt0078748", "nm3,nm404", N], ["tt0018773", N, N]],
        ),
        "imdb/title.principals.tsv": tsv(
            root / "imdb/title.principals.tsv",
            ["tconst", "ordering", "nconst", "category", "job", "characters"],
            [
                ["tt0133093", "2", "nm5", "actress", N, '["Trinity"]'],
                ["tt0133093", "1", "nm4", "actor", N, '["Neo"]'],
                ["tt0133093", "3", "nm1", "writer", N, N],
                ["tt0018773", "5", "nm6", "director", N, N],
            ],
        ),
        "imdb/name.basics.tsv": tsv(
            root / "imdb/name.basics.tsv",
            ["nconst", "primaryName", "birthYear", "deathYear", "primaryProfession", "knownForTitles"],
            [
                [f"nm{number}", name, N, N, N, N]
                for number, name in enumerate(
                    ("Lana Wachowski", "Lilly Wachowski", "Ridley Scott", "Keanu Reeves", "Carrie-Anne Moss", "Charles Chaplin"),
                    1,
                )
            ],
        ),
        "movielens/ml-32m/movies.csv": comma(
            root / "movielens/movies.csv",
            [
                ["movieId", "title", "genres"],
                [1, "Matrix, The (1999)", "Action|Sci-Fi"],
                [2, "Seven (a.k.a. Se7en) (1995)", "Crime"],
                [3, "City of Lost Children, The (Cité des enfants perdus, La) (1995)", "(no genres listed)"],
                [4, "Carmencita (1894)", "(no genres listed)"],
                [5, "Some Girl(s) (2013)", "Comedy"],
            ],
        ),
        "movielens/ml-32m/links.csv": comma(
            root / "movielens/links.csv",
            [
                ["movieId", "imdbId", "tmdbId"],
                [1, "0133093", "603"],
                [2, "0114369", "807"],
                [4, "0000001", ""],
                [5, "12345678", ""],
            ],
        ),
        "wikipedia/movies-1990s.json": _json(
            root / "wikipedia/movies-1990s.json",
            [
                {
                    "title": "The Matrix",
                    "year": 1999,
                    "cast": ["Keanu Reeves", "Carrie-Anne Moss"],
                    "genres": ["Science Fiction"],
                    "href": "The_Matrix",
                    "extract": "The Matrix is a 1999 film written and directed by Lana Wachowski and Lilly Wachowski. It is a film.",
                },
                {"title": "A Reel", "year": 1992, "cast": [], "genres": ["Short"], "href": "A_Reel", "extract": ""},
                {
                    "title": "Alien",
                    "year": 1979,
                    "cast": ["Somebody Else", "Nobody Known"],
                    "genres": [],
                    "extract": "Not directed at all.",
                },
            ],
        ),
        "wikidata/films.jsonl": jsonl(
            root / "wikidata/films.jsonl",
            [{"item": "Q83495", "imdb": "tt0133093", "enwiki": "The Matrix (film)", "label": "The Matrix", "year": 1999}],
        ),
        "tmdb/movies.jsonl": jsonl(
            root / "tmdb/movies.jsonl",
            [
                {
                    "id": 603,
                    "imdb_id": "tt0133093",
                    "title": "The Matrix",
                    "release_date": "1999-03-30",
                    "genres": [{"name": "Action"}],
                    "overview": "A hacker &amp; his friends<br>learn that the world they know is nothing but a dream of machines.",
                    "credits": {
                        "cast": [{"name": "Second", "order": 1}, {"name": "Keanu Reeves", "order": 0}],
                        "crew": [{"name": "Lana Wachowski", "job": "Director"}, {"name": "Someone", "job": "Editor"}],
                    },
                },
                {
                    "id": 1,
                    "title": "Only Here",
                    "release_date": "",
                    "genres": [],
                    "overview": "",
                    "credits": {"cast": [], "crew": []},
                },
                {
                    "id": 1,
                    "title": "Only Here",
                    "release_date": "2001",
                    "genres": [],
                    "overview": "",
                    "credits": {"cast": [], "crew": []},
                },
            ],
        ),
        "omdb/movies.jsonl": jsonl(
            root / "omdb/movies.jsonl",
            [
                {
                    "imdbID": "tt0078748",
                    "Title": "Alien",
                    "Year": "1979",
                    "Genre": "Horror",
                    "Director": "Ridley Scott (main)",
                    "Actors": "N/A",
                    "Plot": "N/A",
                    "Type": "movie",
                },
                {
                    "imdbID": "tt0041038",
                    "Title": "The Lone Ranger",
                    "Year": "1949–1957",
                    "Genre": "N/A",
                    "Director": "N/A",
                    "Actors": "N/A",
                    "Plot": "N/A",
                    "Type": "series",
                },
            ],
        ),
        "streaming/netflix_titles.csv": comma(
            root / "streaming/netflix_titles.csv",
            [
                [*shows, "listed_in", "description"],
                [
                    "s1",
                    "Movie",
                    "Alien",
                    "Ridley Scott",
                    "Sigourney Weaver",
                    "",
                    "",
                    1980,
                    "",
                    "117 min",
                    "Horror",
                    "A crew of seven meets a creature\nthat it cannot fight.",
                ],
                ["s2", "TV Show", "Elsewhere", "", "", "", "", 2001, "", "2 Seasons", "Drama", "x"],
            ],
        ),
        "streaming/hulu_titles.csv": comma(
            root / "streaming/hulu_titles.csv",
            [
                [*shows, "genre", "description"],
                ["s9", "Movie", "Hero", "", "", "", "", 2000, "", "", "Drama", "A man of whom nobody knows which he is."],
            ],
        ),
        "ggplot2movies/movies.csv": comma(
            root / "ggplot2movies/movies.csv",
            [
                [
                    "rownames",
                    "title",
                    "year",
                    "length",
                    "budget",
                    "rating",
                    "votes",
                    "mpaa",
                    "Action",
                    "Animation",
                    "Comedy",
                    "Drama",
                    "Documentary",
                    "Romance",
                    "Short",
                ],
                [1, "Circus, The", 1928, 71, "", 8.1, 500, "", 0, 0, 1, 0, 0, 0, 0],
                [2, "Carmencita", 1894, 1, "", 5, 9, "", 0, 0, 0, 0, 0, 0, 1],
                [3, "Hero", 2000, 121, "", 5, 9, "", 0, 0, 0, 1, 0, 0, 0],
                [4, "Dolce Attesa, La", 1931, 88, "", 5, 9, "", 0, 0, 0, 1, 0, 1, 0],
            ],
        ),
    }


def _json(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return path
