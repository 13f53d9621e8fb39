import gzip
from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.corpus.sources import SOURCES, SourceRead, read_source
from rar_pipeline.errors import RarError
from rar_pipeline.settings import Settings
from rar_pipeline.tables import SOURCE_MOVIES

from .publishers import write_all

KINDS = ("movie", "tvMovie", "video")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return write_all(tmp_path)


def one(read: SourceRead, source_id: str) -> dict[str, object]:
    return read.frame.row(by_predicate=pl.col("source_id") == source_id, named=True)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_the_one_shape_and_unique_ids(source: str, files: dict[str, Path]) -> None:
    frame = read_source(source, files, KINDS).frame
    assert frame.schema == SOURCE_MOVIES.schema
    assert frame.height
    assert frame["source_id"].is_unique().all()
    assert frame.select(pl.col("genres", "directors", "cast").is_null().any()).row(0) == (False, False, False)


def test_imdb_keeps_the_wanted_kinds_and_counts_the_rest(files: dict[str, Path]) -> None:
    read = read_source("imdb", files, KINDS)
    assert read.frame.height == 7
    assert read.dropped == {"malformed rows of imdb/title.basics.tsv": 1, "adult": 1, "kind short": 1, "kind tvSeries": 1}
    assert set(read.excluded["source_id"]) == {"tt0000001", "tt0041038", "tt0099999"}
    assert "tvSeries" in set(read_source("imdb", files, (*KINDS, "tvSeries")).frame["kind"])


def test_imdb_people_are_named_in_order_and_unknown_ones_are_passed_over(files: dict[str, Path]) -> None:
    read = read_source("imdb", files, KINDS)
    matrix = one(read, "tt0133093")
    assert matrix["directors"] == ["Lilly Wachowski", "Lana Wachowski"]  # the order of title.crew
    assert matrix["cast"] == ["Keanu Reeves", "Carrie-Anne Moss"]  # the order of title.principals, writers not among them
    assert (matrix["rating"], matrix["votes"], matrix["runtime"]) == (8.7, 1900000, 136)
    assert one(read, "tt0078748")["directors"] == ["Ridley Scott"]
    assert one(read, "tt0018773")["directors"] == ["Charles Chaplin"]  # title.crew has none: from title.principals
    assert one(read, "tt0211915")["title"] == 'Amélie "Poulain"'  # quotes mean nothing in IMDb's files


def test_movielens_titles_come_apart(files: dict[str, Path]) -> None:
    read = read_source("movielens", files, KINDS)
    assert (one(read, "1")["title"], one(read, "1")["year"], one(read, "1")["imdb_id"]) == ("The Matrix", 1999, "tt0133093")
    assert (one(read, "2")["title"], one(read, "2")["original_title"]) == ("Seven", "Se7en")
    lost = one(read, "3")
    assert (lost["title"], lost["original_title"]) == ("The City of Lost Children", "La Cité des enfants perdus")
    assert lost["genres"] == []
    assert one(read, "5")["title"] == "Some Girl(s)"


def test_what_a_source_writes_for_missing_is_missing(files: dict[str, Path]) -> None:
    alien = one(read_source("omdb", files, KINDS), "tt0078748")
    assert (alien["plot"], alien["cast"], alien["directors"]) == (None, [], ["Ridley Scott"])
    assert read_source("omdb", files, KINDS).dropped == {"other types": 1}
    tmdb = read_source("tmdb", files, KINDS)
    assert tmdb.dropped == {"duplicate id": 1}
    assert one(tmdb, "603")["year"] == 1999
    assert one(tmdb, "603")["cast"] == ["Keanu Reeves", "Second"]
    assert one(tmdb, "603")["plot"] == "A hacker & his friends learn that the world they know is nothing but a dream of machines."


def test_directors_are_read_from_the_lead_of_an_article(files: dict[str, Path]) -> None:
    read = read_source("wikipedia", files, KINDS)
    assert one(read, "The_Matrix (1999)")["directors"] == ["Lana Wachowski", "Lilly Wachowski"]
    assert one(read, "Alien (1979)")["directors"] == []
    assert read.dropped == {"genre Short": 1}


def test_catalogues_and_snapshot_keep_movies_only(files: dict[str, Path]) -> None:
    streaming = read_source("streaming", files, KINDS)
    assert set(streaming.frame["source_id"]) == {"netflix/s1", "hulu/s9"}
    assert one(streaming, "netflix/s1")["runtime"] == 117
    snapshot = read_source("ggplot2movies", files, KINDS)
    assert snapshot.dropped == {"Short": 1}
    assert one(snapshot, "1")["title"] == "The Circus"
    assert one(snapshot, "4")["title"] == "La Dolce Attesa"
    assert one(snapshot, "4")["genres"] == ["Drama", "Romance"]


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "imdb"])
def test_an_optional_source_that_is_absent_is_empty(source: str) -> None:
    read = read_source(source, {}, KINDS)
    assert read.frame.is_empty()
    assert read.frame.schema == SOURCE_MOVIES.schema


def test_imdb_needs_its_titles_and_nothing_else(files: dict[str, Path]) -> None:
    alone = read_source("imdb", {"imdb/title.basics.tsv": files["imdb/title.basics.tsv"]}, KINDS).frame
    assert alone.height == 7
    with pytest.raises(RarError, match=r"imdb/title\.basics\.tsv: missing"):
        read_source("imdb", {}, KINDS)


def test_a_file_cut_short_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"tt%07d\tmovie\tA\tA\t0\t1999\t\\N\t90\tDrama\n" % number for number in range(50_000)))
    cut = tmp_path / "title.basics.tsv.gz"
    header = gzip.compress(
        b"tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"
    )
    cut.write_bytes(header + whole[: len(whole) // 2])
    with pytest.raises(RarError, match=r"title\.basics\.tsv\.gz.*expected imdb/title\.basics\.tsv"):
        read_source("imdb", {**files, "imdb/title.basics.tsv": cut}, KINDS)


def test_a_changed_schema_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    changed = tmp_path / "changed.tsv"
    changed.write_text("tconst\tkind\n")
    with pytest.raises(RarError, match="'titleType'"):
        read_source("imdb", {**files, "imdb/title.basics.tsv": changed}, KINDS)
    (tmp_path / "w.json").write_text('[{"name": "x"}]')
    with pytest.raises(RarError, match="'title'"):
        read_source("wikipedia", {"wikipedia/movies-1990s.json": tmp_path / "w.json"}, KINDS)


def test_a_new_column_of_a_publisher_does_no_harm(files: dict[str, Path], tmp_path: Path) -> None:
    wider = tmp_path / "ratings.tsv"
    wider.write_text("tconst\tnew\taverageRating\tnumVotes\ntt0133093\tx\t8.7\t5\n")
    frame = read_source("imdb", {**files, "imdb/title.ratings.tsv": wider}, KINDS).frame
    assert frame.filter(pl.col("source_id") == "tt0133093")["votes"].item() == 5


def test_malformed_json_is_named_or_counted(tmp_path: Path) -> None:
    broken = tmp_path / "movies-1990s.json"
    broken.write_text('[{"title": "A", "year": 1990, "cast": [], "genres": []}, {"title": ')
    with pytest.raises(RarError, match=r"movies-1990s\.json"):
        read_source("wikipedia", {"wikipedia/movies-1990s.json": broken}, KINDS)
    lines = tmp_path / "movies.jsonl"
    lines.write_text('{"id": 1, "title": "A"}\n{"id": 2, "tit\n')
    read = read_source("tmdb", {"tmdb/movies.jsonl": lines}, KINDS)
    assert (read.frame.height, read.dropped) == (1, {"no id or title": 1})


def test_default_kinds_are_the_settings() -> None:
    assert Settings().kinds == KINDS


def test_movielens_ids_are_padded_to_seven_digits_and_longer_ones_are_not_cut(files: dict[str, Path]) -> None:
    found = dict(read_source("movielens", files, KINDS).frame.select("source_id", "imdb_id").iter_rows())
    assert (found["4"], found["5"], found["3"]) == ("tt0000001", "tt12345678", None)
