"""Peer: a bare scan-and-join of IMDb's five files in DuckDB, as anyone would write it. `python -m benchmarks.corpus_duckdb FOLDER OUT.parquet`.

Title, year, rating, votes, directors' names and leading cast of every film, written to parquet; nothing is checked, tidied, counted or merged.
"""

import sys
from pathlib import Path

import duckdb

from benchmarks.files import imdb_files

STATEMENT = r"""
COPY (
    WITH titles AS (
        SELECT tconst, primaryTitle AS title, startYear AS year
        FROM {title.basics}
        WHERE titleType IN ('movie', 'tvMovie', 'video') AND isAdult = 0
    ),
    names AS (
        SELECT nconst, primaryName AS name FROM {name.basics}
    ),
    directed AS (
        SELECT tconst, unnest(string_split(directors, ',')) AS nconst, generate_subscripts(string_split(directors, ','), 1) AS place
        FROM {title.crew}
        WHERE directors IS NOT NULL AND tconst IN (SELECT tconst FROM titles)
    ),
    played AS (
        SELECT tconst, nconst, ordering
        FROM {title.principals}
        WHERE category IN ('actor', 'actress', 'self') AND tconst IN (SELECT tconst FROM titles)
    ),
    directors AS (
        SELECT tconst, list(name ORDER BY place) AS directors FROM directed JOIN names USING (nconst) GROUP BY tconst
    ),
    actors AS (
        SELECT tconst, list(name ORDER BY ordering) AS "cast" FROM played JOIN names USING (nconst) GROUP BY tconst
    )
    SELECT tconst, title, year, averageRating AS rating, numVotes AS votes, directors, "cast"
    FROM titles
    LEFT JOIN {title.ratings} USING (tconst)
    LEFT JOIN directors USING (tconst)
    LEFT JOIN actors USING (tconst)
) TO '{out}' (FORMAT parquet)
"""


def main(folder: Path, out: Path) -> None:
    """Run the statement in one go, with DuckDB's defaults."""
    text = STATEMENT.replace("{out}", _quoted(out))
    for name, path in imdb_files(folder).items():
        text = text.replace(
            f"{{{name}}}", rf"read_csv('{_quoted(path)}', delim = '\t', quote = '', escape = '', header = true, nullstr = '\N')"
        )
    duckdb.connect().execute(text)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
