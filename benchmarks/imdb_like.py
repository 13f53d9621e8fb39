"""Writes files like IMDb's of any size: `python -m benchmarks.imdb_like TITLES PRINCIPALS FOLDER` makes FOLDER/imdb/*.tsv.gz.

Kinds of titles, lengths of titles, credits a title and shares of missing values follow IMDb's daily files; words, names and who worked on what are
drawn from hashes of the row's number, so that the same sizes
give the same rows (of one version of DuckDB). One statement a file.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import duckdb

PEOPLE_A_TITLE = 14 / 12  # IMDb lists 14 million people and 12 million titles
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstv" for vowel in "aeio"]

# chance(row, salt): a number below 1 that depends on both alone; word(chance): frequent words more often
MACROS = """
CREATE MACRO chance(i, salt) AS (hash(i, salt) % 1_000_003) / 1_000_003.0;
CREATE MACRO word(i, salt) AS $words[1 + floor(len($words) * chance(i, salt) ** 2)::INT];
CREATE MACRO genre(i, salt) AS ([
    'Drama', 'Comedy', 'Short', 'Documentary', 'Talk-Show', 'Romance', 'News', 'Family', 'Reality-TV', 'Animation', 'Action', 'Crime'
])[1 + (11 * chance(i, salt) ** 2)::INT];
CREATE MACRO tconst(i) AS printf('tt%07d', i);
CREATE MACRO nconst(i) AS printf('nm%07d', i);
CREATE MACRO person(i, salt) AS nconst(1 + ($people * chance(i, salt) ** 1.5)::BIGINT);
CREATE MACRO phrase(i, salt) AS word(i, salt)
    || CASE WHEN chance(i, salt + 1) < 0.85 THEN ' ' || word(i, salt + 2) ELSE '' END
    || CASE WHEN chance(i, salt + 3) < 0.55 THEN ' ' || word(i, salt + 4) ELSE '' END
    || CASE WHEN chance(i, salt + 5) < 0.30 THEN ' ' || word(i, salt + 6) ELSE '' END;
CREATE MACRO kind_of(i) AS CASE
    WHEN chance(i, 1) < 0.750 THEN 'tvEpisode'
    WHEN chance(i, 1) < 0.840 THEN 'short'
    WHEN chance(i, 1) < 0.901 THEN 'movie'
    WHEN chance(i, 1) < 0.927 THEN 'video'
    WHEN chance(i, 1) < 0.952 THEN 'tvSeries'
    WHEN chance(i, 1) < 0.965 THEN 'tvMovie'
    WHEN chance(i, 1) < 0.972 THEN 'tvMiniSeries'
    WHEN chance(i, 1) < 0.977 THEN 'tvSpecial'
    WHEN chance(i, 1) < 0.981 THEN 'videoGame'
    ELSE 'tvShort' END;
"""

FILES = {
    "title.basics": """
        SELECT tconst(i) AS tconst, kind_of(i) AS titleType, title AS primaryTitle,
            CASE WHEN chance(i, 20) < 0.85 THEN title ELSE phrase(i, 40) END AS originalTitle,
            CASE WHEN chance(i, 21) < 0.03 THEN 1 ELSE 0 END AS isAdult,
            CASE WHEN chance(i, 22) < 0.88 THEN 2026 - (120 * chance(i, 23) ** 3)::INT END AS startYear,
            CASE WHEN kind_of(i) = 'tvSeries' THEN 2026 - (60 * chance(i, 24) ** 3)::INT END AS endYear,
            CASE WHEN chance(i, 25) < 0.32 THEN 5 + (CASE WHEN kind_of(i) = 'tvEpisode' THEN 60 ELSE 150 END * chance(i, 26))::INT END
                AS runtimeMinutes,
            CASE WHEN chance(i, 27) < 0.96 THEN genre(i, 28)
                || CASE WHEN chance(i, 29) < 0.5 THEN ',' || genre(i, 30) ELSE '' END
                || CASE WHEN chance(i, 31) < 0.2 THEN ',' || genre(i, 32) ELSE '' END END AS genres
        FROM (SELECT i, CASE WHEN kind_of(i) = 'tvEpisode' AND chance(i, 33) < 0.4 THEN 'Episode #' || i % 30 || '.' || i % 97 ELSE phrase(i, 10) END
            AS title FROM range(1, $titles + 1) AS rows(i))
    """,
    "title.ratings": """
        SELECT tconst(i) AS tconst, round(1 + 9 * (1 - chance(i, 50) ** 2), 1) AS averageRating, 5 + (20 / (0.00001 + chance(i, 51)))::INT AS numVotes
        FROM range(1, $titles + 1) AS rows(i)
        WHERE chance(i, 52) < CASE WHEN kind_of(i) = 'movie' THEN 0.45 ELSE 0.105 END
    """,
    "title.crew": """
        SELECT tconst(i) AS tconst,
            CASE WHEN chance(i, 60) < 0.57 THEN person(i, 61) || CASE WHEN chance(i, 62) < 0.12 THEN ',' || person(i, 63) ELSE '' END END
                AS directors,
            CASE WHEN chance(i, 64) < 0.51 THEN person(i, 65) || CASE WHEN chance(i, 66) < 0.3 THEN ',' || person(i, 67) ELSE '' END END AS writers
        FROM range(1, $titles + 1) AS rows(i)
    """,
    "title.principals": """
        SELECT tconst(i) AS tconst, place AS ordering, person(i * 32 + place, 70) AS nconst, category,
            CASE WHEN category IN ('producer', 'writer') AND chance(i * 32 + place, 71) < 0.6 THEN category END AS job,
            CASE WHEN category IN ('actor', 'actress') AND chance(i * 32 + place, 72) < 0.9 THEN '["' || word(i * 32 + place, 73) || '"]' END
                AS characters
        FROM (
            SELECT i, place, CASE
                WHEN chance(i * 32 + place, 74) < 0.24 THEN 'actor'
                WHEN chance(i * 32 + place, 74) < 0.42 THEN 'actress'
                WHEN chance(i * 32 + place, 74) < 0.56 THEN 'self'
                WHEN chance(i * 32 + place, 74) < 0.68 THEN 'writer'
                WHEN chance(i * 32 + place, 74) < 0.76 THEN 'director'
                WHEN chance(i * 32 + place, 74) < 0.84 THEN 'producer'
                WHEN chance(i * 32 + place, 74) < 0.93 THEN 'editor'
                ELSE 'composer' END AS category
            FROM (SELECT i, unnest(range(1, 1 + (2 * $credits * chance(i, 75))::INT)) AS place
                FROM range(1, $titles + 1) AS rows(i))
        )
    """,
    "name.basics": """
        SELECT nconst(i) AS nconst, word(i, 80) || ' ' || CASE WHEN chance(i, 81) < 0.1 THEN word(i, 82) || ' ' ELSE '' END || word(i, 83)
                AS primaryName,
            CASE WHEN chance(i, 84) < 0.04 THEN 2000 - (100 * chance(i, 85))::INT END AS birthYear,
            CASE WHEN chance(i, 86) < 0.02 THEN 2025 - (60 * chance(i, 87))::INT END AS deathYear,
            CASE WHEN chance(i, 88) < 0.8 THEN 'actor,producer' END AS primaryProfession,
            CASE WHEN chance(i, 89) < 0.88 THEN tconst(1 + ($titles * chance(i, 90))::BIGINT)
                || ',' || tconst(1 + ($titles * chance(i, 91))::BIGINT) END
                AS knownForTitles
        FROM range(1, $people + 1) AS rows(i)
    """,
}


def words(count: int = 6000) -> list[str]:
    """Made-up words of one to four syllables, capitalised."""
    chance = random.Random(0)  # noqa: S311 - chance, no secret
    return ["".join(chance.choices(SYLLABLES, k=chance.choice((1, 2, 2, 3, 3, 4)))).capitalize() for _ in range(count)]


def main(titles: int, principals: int, folder: Path) -> None:
    """Write the five files."""
    (folder / "imdb").mkdir(parents=True, exist_ok=True)
    con = duckdb.connect()
    values = {
        "$words": "getvariable('words')",
        "$titles": str(titles),
        "$people": str(round(titles * PEOPLE_A_TITLE)),
        "$credits": str(principals / titles),
    }
    con.execute("SET VARIABLE words = $words", {"words": words()})
    con.execute(_filled(MACROS, values))
    for name, query in FILES.items():
        target = str(folder / "imdb" / f"{name}.tsv.gz").replace("'", "''")
        options = r"FORMAT csv, DELIMITER '\t', QUOTE '', ESCAPE '', HEADER, NULLSTR '\N', COMPRESSION gzip"
        con.execute(f"COPY ({_filled(query, values)}) TO '{target}' ({options})")


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
