"""What the linker's benchmark links: `python -m benchmarks.linker_inputs FILES LAKE MENTIONS TITLES OUT` writes titles.parquet, mentions.parquet.

Titles are the lake's title index (made from the files where the lake has none). Mentions are the distinct movie names of ReDial and INSPIRED in the
lake, else titles of the index, then copies of them with the slips that people make, until there are MENTIONS different ones: equal mentions are
looked up once, so that repeating them would flatter the linker.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.files import imdb_files
from rar_pipeline.corpus.merge import merge
from rar_pipeline.corpus.sources import read_source
from rar_pipeline.corpus.titles import build_title_index
from rar_pipeline.settings import Settings

SEED = 0


def titles_of(lake: Path, files: Path) -> pl.DataFrame:
    """The lake's title index, or one made from IMDb's files alone."""
    index = lake / "corpus" / "title_index" / "data.parquet"
    if index.is_file():
        return pl.read_parquet(index)
    paths = {f"imdb/{name}.tsv": path for name, path in imdb_files(files).items()}
    read = read_source("imdb", paths, Settings(_env_file=None).kinds)
    return build_title_index(merge(read.frame, read.excluded).movies)


def names_of(lake: Path, titles: pl.DataFrame) -> list[str]:
    """Names of movies as people or data sets give them, with their years where they have them."""
    mentions = [lake / "conversations" / "mentions" / f"dataset={dataset}" / "data.parquet" for dataset in ("redial", "inspired")]
    found = [pl.read_parquet(path, columns=["text"])["text"] for path in mentions if path.is_file()]
    if found:
        return pl.concat(found).drop_nulls().unique().sort().to_list()
    known = titles.filter(pl.col("variant") == "title").sort("votes", "movie_id", descending=True).head(10_000)
    return [f"{title} ({year})" if year else title for title, year in known.select("title", "year").iter_rows()]


def _letter_lost(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text))
    return text[:place] + text[place + 1 :]


def _letters_swapped(text: str, chance: random.Random) -> str:
    place = chance.randrange(max(len(text) - 1, 1))
    return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]


def _letter_doubled(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text))
    return text[:place] + text[place] + text[place:]


def _year_off(text: str, chance: random.Random) -> str:
    return re.sub(r"\((\d{4})\)$", lambda found: f"({int(found[1]) + chance.choice((-1, 1))})", text)


def _without_year(text: str, chance: random.Random) -> str:
    return re.sub(r"\s*\(\d{4}\)$", "", text)


def _carelessly(text: str, chance: random.Random) -> str:
    return chance.choice((text.lower(), text.upper(), text.replace(" ", "  "), f" {text} ", re.sub(r"[^\w\s()]", "", text)))


SLIPS: tuple[Callable[[str, random.Random], str], ...] = (
    _letter_lost,
    _letters_swapped,
    _letter_doubled,
    _year_off,
    _without_year,
    _carelessly,
)


def mentions_of(names: list[str], count: int) -> list[str]:
    """`count` different mentions: the names, then the names with one slip each, then with two, and so on."""
    chance = random.Random(SEED)  # noqa: S311 - chance, no secret
    made = dict.fromkeys(name for name in names if name.strip())
    last = list(made)
    while len(made) < count:
        last = [chance.choice(SLIPS)(text, chance) for text in last if len(text) > 1]
        made.update(dict.fromkeys(text for text in last if text.strip()))
    return list(made)[:count]


def main(files: Path, lake: Path, count: int, out: Path) -> None:
    """Write both tables."""
    titles = titles_of(lake, files)
    titles.write_parquet(out / "titles.parquet")
    (out / "movies").write_text(str(titles["movie_id"].n_unique()), encoding="utf-8")
    pl.DataFrame({"text": mentions_of(names_of(lake, titles), count)}).write_parquet(out / "mentions.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
