from pathlib import Path

import polars as pl

from rar_pipeline.corpus.excluded import bare, met
from rar_pipeline.corpus.merge import merge
from rar_pipeline.corpus.sources import read_source
from rar_pipeline.tables import SOURCE_MOVIES

from .publishers import BASICS, tsv

KINDS = ("movie", "tvMovie", "video")
N = r"\N"


def read(tmp_path: Path, *titles: list[str]):
    return read_source("imdb", {"imdb/title.basics.tsv": tsv(tmp_path / "title.basics.tsv", BASICS, list(titles))}, KINDS)


def title(number: int, kind: str, name: str, minutes: str = N) -> list[str]:
    return [f"tt{number:07d}", kind, name, name, "0", "1995", N, minutes, "Drama"]


def test_of_short_episodes_only_the_id_is_known_of_long_ones_and_games_the_title(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        title(1, "movie", "Film"),
        title(2, "tvEpisode", "Pilot", "22"),
        title(3, "tvEpisode", "Cinema of Unease", "52"),
        title(4, "videoGame", "Waterworld"),
    )
    excluded = dict(found.excluded.select("source_id", "title").iter_rows())
    assert excluded == {"tt0000002": None, "tt0000003": "Cinema of Unease", "tt0000004": "Waterworld"}
    assert found.excluded.schema == SOURCE_MOVIES.schema
    assert found.dropped == {"kind tvEpisode": 2, "kind videoGame": 1}


def test_an_id_that_comes_twice_is_one_title_and_the_kept_one_wins(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        title(1, "movie", "B"),
        title(1, "movie", "A"),
        title(1, "short", "A"),
        title(1, "tvEpisode", "A"),
        title(2, "short", "C"),
        title(2, "short", "D"),
        title(2, "tvEpisode", "C"),
        title(3, "tvEpisode", "E"),
        title(3, "tvEpisode", "F"),
    )
    assert found.frame["title"].to_list() == ["A"]
    assert found.dropped["duplicate id"] == 1
    assert found.excluded.select("source_id", "title").rows() == [("tt0000002", "C"), ("tt0000003", None)]


def test_what_a_merge_cannot_meet_may_be_left_unread(tmp_path: Path) -> None:
    found = read(tmp_path, title(1, "movie", "Film"), *(title(number, "tvEpisode", "Pilot") for number in range(2, 9)))
    carries = {"source": "omdb", "source_id": "tt0000005", "imdb_id": "tt0000005", "title": "Pilot", "kind": "movie"}
    empty = {"genres": [], "directors": [], "cast": []}
    claims = pl.concat([found.frame, SOURCE_MOVIES.frame([carries | empty])])
    found.excluded.write_parquet(tmp_path / "excluded.parquet")
    some = met(pl.scan_parquet(tmp_path / "excluded.parquet"), claims)
    assert some["source_id"].to_list() == ["tt0000005"]
    assert merge(claims, some).movies.equals(merge(claims, found.excluded).movies)
    assert merge(claims, some).movies["movie_id"].to_list() == ["tt0000001"]


def test_ids_take_no_memory_for_what_is_not_known() -> None:
    ids = pl.DataFrame({"source_id": [f"tt{number:07d}" for number in range(1000)], "kind": "tvEpisode"})
    assert bare(ids).schema == SOURCE_MOVIES.schema
    assert bare(ids)["title"].null_count() == 1000
