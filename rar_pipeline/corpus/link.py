"""Linker: from a mention ("Signs  (2008)", "the first Alien", "Avatar ") to a movie of the corpus, with a score and the reason.

Precision first: what cannot be linked safely stays unlinked, and the reason says what stood in the way. Also the strict matching that grounds
what an LLM writes (METHOD, 4), and a command: `python -m rar_pipeline.corpus.link FILE` reads one mention a line and writes TSV.
"""

from __future__ import annotations

import argparse
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from rar_pipeline.corpus.normalise import normalise_title, split_year
from rar_pipeline.corpus.titles import LOOSE, STRONG, SUBTITLE, VARIANTS, build_title_index, loose_key, numbers, with_numerals
from rar_pipeline.errors import RarError
from rar_pipeline.settings import load_settings
from rar_pipeline.tables import MENTIONS, TITLES

__all__ = ["Link", "Linker", "build_title_index"]

# a namesake is passed over where the other has so many times its votes
DOMINANT = 4
# votes that a movie needs to be meant by its bare name, so that a documentary on an actor does not catch the actor's name
KNOWN = 1000
# votes under which nobody is taken to mean a movie where a namesake is well known
UNKNOWN = 100
FUZZY = 90.0

_FIRST = re.compile(r"^(?:the )?(?:very )?(?:first|original|1st) (.+?)(?: (?:movie|film|one))?$")
_MARKED = re.compile(r"@(\d+)")
_BARE_YEAR = re.compile(r"^(.+\S)\s+((?:19|20)\d\d)$")
_WRAPPED = re.compile(r"^(?:movie|film)s? (.+)$|^(.+) (?:movie|film)$")


class Link(NamedTuple):
    """What a mention was linked to: movie (None: unlinked), confidence from 0 to 1, and why."""

    movie_id: str | None
    score: float
    reason: str


class _Entry(NamedTuple):
    movie_id: str
    year: int | None
    votes: int
    variant: int  # place in VARIANTS


_STRONG = len(STRONG)
_LOOSE, _SUBTITLE = VARIANTS.index(LOOSE), VARIANTS.index(SUBTITLE)


class Linker:
    """Looks mentions up in a title index (tables.TITLES). Takes about two seconds to build for 300,000 movies; holds no other state."""

    def __init__(self, titles: pl.DataFrame, listed: Mapping[str, str] | None = None) -> None:
        """`listed`: names of a data set's own list by id, so that "@111776" means what the list says of 111776."""
        titles = TITLES.conform(titles)
        self._listed = dict(listed or {})
        rank = {variant: place for place, variant in enumerate(VARIANTS)}
        self._entries: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._years: defaultdict[tuple[int, str], list[tuple[str, _Entry]]] = defaultdict(list)
        for key, movie_id, year, votes, variant in titles.select("key", "movie_id", "year", "votes", "variant").iter_rows():
            entry = _Entry(movie_id, year, votes or 0, rank.get(variant, _SUBTITLE))
            self._entries[key].append(entry)
            if year is not None and entry.variant < _STRONG:
                self._years[year, key[0]].append((key, entry))
        for block in self._years.values():
            block.sort()
        self._ids = frozenset(titles["movie_id"].unique().to_list())

    def link(self, text: str, year: int | None = None, imdb_id: str | None = None) -> Link:
        """The movie that a mention means. `year` and `imdb_id` are what is known beside the text; a year in brackets is found there."""
        if imdb_id is not None and imdb_id in self._ids:
            return Link(imdb_id, 1.0, "imdb id")
        if marked := _MARKED.fullmatch(text.strip()):
            if marked[1] not in self._listed:
                return Link(None, 0.0, "id of a list that is not known")
            link = self.link(self._listed[marked[1]], year)
            return link._replace(reason=f"listed name: {link.reason}")
        title, written = split_year(text)
        year = year if year is not None else written
        key = normalise_title(title)
        if not key:
            return Link(None, 0.0, "empty")
        return self._dated(key, year) if year is not None else self._undated(key, title)

    def link_many(self, mentions: Sequence[str] | pl.DataFrame) -> pl.DataFrame:
        """Links of many mentions, in their order: a frame of text, movie_id, score, reason (a frame's other columns are kept).

        A frame has a column `text` and may have `year` (Int64) and `imdb_id` (String). Equal mentions are looked up once.
        """
        frame = (
            mentions if isinstance(mentions, pl.DataFrame) else pl.DataFrame({"text": list(mentions)}, schema={"text": pl.String})
        )
        given = [name for name in ("text", "year", "imdb_id") if name in frame.columns]
        distinct = frame.select(given).unique(maintain_order=True)
        links = [self.link(**{**row, "text": row["text"] or ""}) for row in distinct.iter_rows(named=True)]
        found = distinct.with_columns(
            pl.Series("movie_id", [link.movie_id for link in links], pl.String),
            pl.Series("score", [link.score for link in links], pl.Float64),
            pl.Series("reason", [link.reason for link in links], pl.String),
        )
        kept = frame.drop("movie_id", "score", "reason", strict=False)
        return kept.join(found, on=given, how="left", nulls_equal=True, maintain_order="left")

    def link_mentions(self, mentions: pl.DataFrame) -> pl.DataFrame:
        """The table `mentions` (tables.MENTIONS) with movie_id, score and reason filled in from its texts."""
        return MENTIONS.conform(self.link_many(mentions))

    def match_generated(self, title: str, year: int | None = None) -> str | None:
        """The movie_id of a title that an LLM wrote, or None: see `ground`."""
        return self.ground(title, year).movie_id

    def ground(self, title: str, year: int | None = None) -> Link:
        """Strict match of a title that an LLM wrote: title and year, year +-2, edit distance <= 2, fuzzy >= 0.9 with the year; else None.

        Source: METHOD, 4 "Grounding". Numbers in titles must agree at every step. Without a year only titles that mean one movie match.
        """
        name, written = split_year(title)
        year = year if year is not None else written
        key = normalise_title(name)
        if not key:
            return Link(None, 0.0, "empty")
        if year is None:
            return self._undated(key, name)
        for apart in (0, 1, 2):
            for form, score in ((key, 1.0), (loose_key(key), 0.97)):
                if chosen := _dominant(self._near(form, year, apart, _LOOSE)):
                    return Link(
                        chosen.movie_id, score - 0.05 * apart, "title and year" if not apart else f"title, year {apart} off"
                    )
        return self._misspelt(key, year, lengths=(5, 8), apart=(0, 1), least_votes=0)

    def _near(self, key: str, year: int, apart: int, weakest: int) -> list[_Entry]:
        """Entries of a key that lie exactly `apart` years off, of the strongest variant that has any, up to `weakest`."""
        found = [
            e for e in self._entries.get(key, ()) if e.year is not None and abs(e.year - year) == apart and e.variant <= weakest
        ]
        own = [e for e in found if e.variant < _STRONG]
        return own or found

    def _dated(self, key: str, year: int) -> Link:
        loose = loose_key(key)
        near = [link for apart in (0, 1) for link in self._exact(key, loose, year, apart)]
        chosen = next((link for link in near if link.movie_id), None)
        if chosen and (meant := self._famous_neighbour(key, year, chosen)):
            return meant
        # a namesake of that very year must not be passed over for one of the next
        if near and (near[0].movie_id or chosen is None):
            return near[0]
        if chosen:
            return Link(None, 0.0, near[0].reason)
        for found in (self._misspelt(key, year, lengths=(8, 14), apart=(0,), least_votes=KNOWN), self._longer(key, year)):
            if found.movie_id:
                return found
        return self._wrong_year(key, year)

    def _exact(self, key: str, loose: str, year: int, apart: int) -> Iterator[Link]:
        """Links of equal keys `apart` years off, the surest first; an unlinked one where several movies have the key."""
        steps = [(key, _STRONG - 1, 1.0, "title"), (loose, _LOOSE, 0.95, "spelling")]
        if not apart:
            steps.append((key, _SUBTITLE, 0.9, "part of the title"))
        for form, weakest, score, how in steps:
            found = self._near(form, year, apart, weakest)
            chosen = _dominant(found)
            if chosen and (weakest < _SUBTITLE or chosen.votes >= KNOWN):
                yield Link(chosen.movie_id, score - 0.05 * apart, f"{how} and year" if not apart else f"{how}, year one off")
            elif found and chosen is None:
                yield Link(None, 0.0, f"{len(found)} movies of that title and year")

    def _famous_neighbour(self, key: str, year: int, chosen: Link) -> Link | None:
        """The well-known namesake of the year before or after, where hardly anybody knows the one of the year itself ("Insidious (2011)")."""
        votes = max((e.votes for e in self._entries.get(key, ()) if e.movie_id == chosen.movie_id), default=KNOWN)
        famous = _dominant(self._near(key, year, 1, _STRONG - 1))
        if famous is None or famous.movie_id == chosen.movie_id or votes >= UNKNOWN or famous.votes < 10 * KNOWN:
            return None
        return Link(famous.movie_id, 0.85, "title of a well-known movie, year one off")

    def _misspelt(self, key: str, year: int, *, lengths: tuple[int, int], apart: Sequence[int], least_votes: int) -> Link:
        """Edit distance (1 from the first of `lengths` on, 2 from the second), else similarity, among titles of that year with that first letter."""
        meant = numbers(key)
        if any(e.variant < _STRONG for e in self._entries.get(key, ())):
            return Link(
                None, 0.0, "no such title near that year"
            )  # spelt as another film is: the year is wrong, not the spelling
        allowed = sum(len(key) >= length for length in lengths)
        for off in apart:
            block = [pair for near in {year - off, year + off} for pair in self._years.get((near, key[0]), ())]
            keys = [name for name, _ in block]
            close, how = _by_distance(key, keys, allowed), "edit distance"
            if not close and not off:
                close, how = _by_similarity(key, keys), "similar spelling"
            close = [hit for hit in close if numbers(hit[0]) == meant]
            if not close:
                continue
            chosen = _dominant([block[place][1] for _, value, place in close if value == close[0][1]])
            if chosen is None:
                return Link(None, 0.0, "several similar titles")
            if chosen.votes >= least_votes:
                return Link(chosen.movie_id, 0.85 - 0.05 * off, f"{how}, year" if not off else f"{how}, year one off")
        return Link(None, 0.0, "no such title")

    def _longer(self, key: str, year: int) -> Link:
        """A well-known title of that very year that goes on by two words or more where the mention ends, unless it goes on with a number."""
        block = self._years.get((year, key[0]), [])
        found = []
        for name, entry in block[bisect_left(block, (key + " ",)) :] if " " in key else ():
            if not name.startswith(key + " "):
                break
            rest = with_numerals(name).removeprefix(with_numerals(key)).strip()
            if " " in rest and not any(letter.isdigit() for letter in rest):
                found.append(entry)
        chosen = _dominant(found)
        if chosen and chosen.votes >= KNOWN:
            return Link(chosen.movie_id, 0.8, "beginning of the title, year")
        return Link(None, 0.0, "no such title")

    def _wrong_year(self, key: str, year: int) -> Link:
        """The only well-known movie of a title, where the year is wrong by two: premieres and releases differ that much, other films by more."""
        known = _strongest(self._entries.get(key, ()), _STRONG - 1)
        chosen = _dominant(known, factor=20)
        if chosen and chosen.year is not None and abs(chosen.year - year) <= 2 and chosen.votes >= 10 * KNOWN:
            return Link(chosen.movie_id, 0.75, "title of one well-known movie, year two off")
        return Link(None, 0.0, "no such title near that year" if known else "no such title")

    def _undated(self, key: str, title: str) -> Link:
        for form, weakest, score, how in ((key, _STRONG - 1, 0.9, "title"), (loose_key(key), _LOOSE, 0.85, "spelling")):
            found = _strongest(self._entries.get(form, ()), weakest)
            if not found:
                continue
            series = max((e.votes for e in self._entries.get(key, ()) if e.variant == _SUBTITLE), default=0)
            chosen = _dominant(found)
            if chosen is None:
                return Link(None, 0.0, f"{len(found)} movies of that title, no year")
            if chosen.votes * 2 < series:
                return Link(None, 0.0, "name of a series, no year")
            if chosen.votes < KNOWN and (len(found) > 1 or key.count(" ") < 2 or (not chosen.votes and chosen.year is None)):
                return Link(None, 0.0, "little-known movie of that title, no year")
            return Link(
                chosen.movie_id, score - 0.05 * (len(found) > 1), f"{how}, no year" + (", best known" if len(found) > 1 else "")
            )
        if first := _FIRST.match(title.strip().lower()):
            found = [
                e
                for e in _strongest(self._entries.get(normalise_title(first[1]), ()), _STRONG - 1)
                if e.votes >= KNOWN and e.year
            ]
            if found:
                return Link(min(found, key=lambda e: (e.year or 0, -e.votes)).movie_id, 0.75, "first of that title")
        if bare := _BARE_YEAR.match(title.strip()):
            dated = self._dated(normalise_title(bare[1]), int(bare[2]))
            if dated.score >= 0.9:
                return Link(dated.movie_id, dated.score - 0.05, dated.reason)
        if (wrapped := _WRAPPED.match(key)) and (inner := wrapped[1] or wrapped[2]) != key:
            return self._undated(normalise_title(inner), inner)
        part = [e for e in self._entries.get(key, ()) if e.variant == _SUBTITLE]
        if (chosen := _dominant(part, factor=10)) and chosen.votes >= 20 * KNOWN:
            return Link(chosen.movie_id, 0.7, "part of the title, no year")
        return Link(None, 0.0, "name of a series, no year" if part else "no such title")


def _by_distance(key: str, keys: Sequence[str], most: int) -> list[tuple[str, float, int]]:
    found = process.extract(key, keys, scorer=OSA.distance, score_cutoff=most, limit=8) if most else []
    return [(name, float(distance), place) for name, distance, place in found]


def _by_similarity(key: str, keys: Sequence[str]) -> list[tuple[str, float, int]]:
    return [
        (name, score, place) for name, score, place in process.extract(key, keys, scorer=fuzz.ratio, score_cutoff=FUZZY, limit=8)
    ]


def _strongest(entries: Iterable[_Entry], weakest: int) -> list[_Entry]:
    found = [e for e in entries if e.variant <= weakest]
    return [e for e in found if e.variant < _STRONG] or found


def _dominant(entries: Sequence[_Entry], factor: int = DOMINANT) -> _Entry | None:
    """The one movie among entries, or the one that has `factor` times the votes of every other; else None."""
    best: dict[str, _Entry] = {}
    for entry in entries:
        if entry.movie_id not in best or entry.variant < best[entry.movie_id].variant:
            best[entry.movie_id] = entry
    ranked = sorted(best.values(), key=lambda e: (-e.votes, e.variant, e.movie_id))
    if not ranked:
        return None
    if len(ranked) == 1 or ranked[0].votes >= factor * max(ranked[1].votes, 1):
        return ranked[0]
    # a main title is meant before a translation or an alias
    main = [e for e in ranked if e.variant == 0]
    return main[0] if len(main) == 1 and main[0] is ranked[0] else None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: one mention a line in, TSV out (mention, movie_id, imdb_id, title, year, score, reason)."""
    parser = argparse.ArgumentParser(prog="python -m rar_pipeline.corpus.link", description=main.__doc__)
    parser.add_argument("file", type=Path, help="mentions, one a line, UTF-8")
    parser.add_argument(
        "--movies", type=Path, help="parquet table of movies; without it the tables of the lake that the settings name"
    )
    parser.add_argument(
        "--names",
        type=Path,
        help="ReDial's movies_with_mentions.csv, for mentions such as @111776; without it what the lake read of ReDial",
    )
    options = parser.parse_args(arguments)
    try:
        root = load_settings().root
        movies = options.movies or root / "corpus" / "movies" / "data.parquet"
        titles = None if options.movies else root / "corpus" / "title_index" / "data.parquet"
        _write_links(options.file, movies, titles, _listed_names(options.names, root))
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _listed_names(file: Path | None, root: Path) -> dict[str, str]:
    """Names of ReDial's movies by its ids."""
    if file:
        try:
            listed = pl.read_csv(file, columns=["movieId", "movieName"], schema_overrides={"movieId": pl.String})
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise RarError(
                f"{file}: cannot be read ({reason}); expected movies_with_mentions.csv with movieId and movieName"
            ) from None
        return dict(listed.drop_nulls().iter_rows())
    mentions = root / "conversations" / MENTIONS.name / "dataset=redial" / "data.parquet"
    if not mentions.is_file():
        return {}
    return dict(
        pl.read_parquet(mentions, columns=["source_id", "text"])
        .drop_nulls()
        .unique("source_id", keep="first", maintain_order=True)
        .iter_rows()
    )


def _write_links(file: Path, movies_file: Path, titles_file: Path | None, listed: Mapping[str, str]) -> None:
    try:
        mentions = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RarError(f"{file}: cannot be read ({error}); expected UTF-8 text, one mention a line") from None
    movies = _table(movies_file)
    links = Linker(_table(titles_file) if titles_file else build_title_index(movies), listed).link_many(mentions)
    rows = links.join(movies.select("movie_id", "imdb_id", "title", "year"), on="movie_id", how="left", maintain_order="left")
    rows = rows.select(
        pl.col("text").str.replace_all("\t", " ").alias("mention"), "movie_id", "imdb_id", "title", "year", "score", "reason"
    )
    sys.stdout.write(rows.write_csv(separator="\t", quote_style="never", null_value=""))


def _table(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise RarError(
            f"{file}: cannot be read ({reason}); materialise the corpus first, or name a table with --movies"
        ) from None


if __name__ == "__main__":
    raise SystemExit(main())
