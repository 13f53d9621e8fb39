"""Files of publishers and of a mirror on a server arrive whole, and what a server does wrong costs nothing of what is there."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.corpus.sources import read_source
from rar_pipeline.errors import RarError
from rar_pipeline.settings import load_settings
from rar_pipeline.sources import Upstream, paths
from tests.harvest.conftest import World
from tests.loopback import Answer, Asked, Loopback

KINDS = ("movie",)
BASICS = "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"
FILM = "tt0000001\tmovie\tA\tA\t0\t1999\t\\N\t90\tDrama\n"
TABLES = {
    "title.basics": BASICS + FILM,
    "title.ratings": "tconst\taverageRating\tnumVotes\ntt0000001\t7.0\t9\n",
    "title.crew": "tconst\tdirectors\twriters\ntt0000001\tnm0000001\t\\N\n",
    "title.principals": "tconst\tordering\tnconst\tcategory\tjob\tcharacters\ntt0000001\t1\tnm0000002\tactor\t\\N\t\\N\n",
    "name.basics": "nconst\tprimaryName\nnm0000001\tAnn Lee\nnm0000002\tBo Ray\n",
}


def served(content: bytes) -> Answer:
    return Answer(content, headers={"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})


def imdb(tables: dict[str, str]):
    def answer(asked: Asked) -> Answer | None:
        name = asked.path.rsplit("/", 1)[-1].removesuffix(".tsv.gz")
        return served(gzip.compress(tables[name].encode(), mtime=0)) if name in tables else None

    return answer


def test_a_column_that_is_renamed_upstream_is_named_and_the_version_before_is_not_lost(world: World, server: Loopback) -> None:
    server.answer = imdb(TABLES)
    before = world.gather("imdb")
    assert read_source("imdb", paths(before), KINDS).frame["title"].to_list() == ["A"]
    server.answer = imdb(TABLES | {"title.basics": BASICS.replace("primaryTitle", "title") + FILM})
    after = world.gather("imdb")
    changed = before.join(after, on="file").filter(pl.col("sha256") != pl.col("sha256_right"))
    assert changed["file"].to_list() == ["imdb/title.basics.tsv"]
    with pytest.raises(
        RarError, match=r"title\.basics\.tsv\.gz: expected imdb/title\.basics\.tsv with column 'primaryTitle'"
    ) as told:
        read_source("imdb", paths(after), KINDS)
    assert "\n" not in str(told.value)
    kept = {file: world.raw / "objects" / sha256 for file, sha256 in before.select("file", "sha256").iter_rows()}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept.values())
    assert gzip.decompress(kept["imdb/title.basics.tsv"].read_bytes()).decode() == BASICS + FILM


def test_unchanged_files_are_not_sent_again(world: World, server: Loopback) -> None:
    server.answer = imdb(TABLES)
    first = world.gather("imdb")
    world.lines.clear()
    assert world.gather("imdb").equals(first)
    assert len([line for line in world.lines if "unchanged" in line]) == len(TABLES)
    assert len(list((world.raw / "objects").iterdir())) == len(TABLES)


def test_an_archive_with_a_wrong_checksum_is_thrown_away(world: World, server: Loopback) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train_data.jsonl", "{}")
    server.answer = lambda asked: served(packed.getvalue())
    with pytest.raises(RarError, match=r"redial_dataset\.zip: SHA-256 is .*, expected b48756"):
        world.gather("redial")
    assert not [path for path in world.raw.rglob("*") if path.suffix in (".zip", ".part", ".jsonl")]


def test_a_publisher_whose_robots_txt_bars_programs_is_one_line(world: World, server: Loopback) -> None:
    server.answer, server.robots = imdb(TABLES), Answer(b"User-agent: *\nDisallow: /datasets.imdbws.com/")
    with pytest.raises(
        RarError, match=r"^http://.*title\.basics\.tsv\.gz: robots\.txt of 127\.0\.0\.1 bars programs; name a mirror"
    ):
        world.gather("imdb")
    assert server.requests == []


@pytest.mark.parametrize("publisher", ["movielens", "wikidata", "ggplot2movies"])
def test_the_real_mirror_crosses_a_bad_network_unchanged(world: World, server: Loopback, mirror: Path, publisher: str) -> None:
    def answer(asked: Asked) -> Answer | None:
        path = mirror / asked.path.lstrip("/")
        return served(path.read_bytes()) if path.is_file() else None

    world.sources = str(mirror)
    near = world.gather(publisher)
    world.sources, server.answer = server.address, answer
    server.faults = [Answer(status=500), Answer(status=429, headers={"Retry-After": "1"})]
    server.cuts = [0.5, 0.1]
    far = world.gather(publisher)
    assert far.select("file", "bytes", "sha256").equals(near.select("file", "bytes", "sha256"))
    ranges = [asked.headers["range"] for asked in server.requests if "range" in asked.headers]
    assert len(ranges) == 2, "resumed where it broke, twice"
    assert read_source(publisher, paths(far), KINDS).frame.equals(read_source(publisher, paths(near), KINDS).frame)


def test_any_host_may_be_stood_in_for(monkeypatch) -> None:
    upstream = Upstream(hosts={"www.omdbapi.com": "http://proxy.example/omdb/"})
    assert upstream.at("https://www.omdbapi.com/?i={id}") == "http://proxy.example/omdb/?i={id}"
    assert upstream.at("https://files.tmdb.org/p/x") == "https://files.tmdb.org/p/x"
    monkeypatch.setenv("RAR_UPSTREAM_HOSTS", '{"www.omdbapi.com": "proxy.example"}')
    load_settings.cache_clear()
    with pytest.raises(RarError, match=r"^RAR_UPSTREAM_HOSTS"):
        load_settings()
    load_settings.cache_clear()


def test_keys_come_from_the_environment_and_stay_out_of_the_resource(world: World, monkeypatch) -> None:
    from rar_pipeline import sources
    from rar_pipeline.resources import resources

    seen: list[Upstream] = []
    monkeypatch.setattr(sources, "collect", lambda *_, upstream, **__: seen.append(upstream))
    monkeypatch.setenv("TMDB_API_KEY", "planted")
    monkeypatch.delenv("OMDB_API_KEY", raising=False)
    resource = resources(load_settings())["sources"]
    resource.collect("tmdb", print)
    assert seen[0].keys == {"TMDB_API_KEY": "planted"}
    assert "planted" not in f"{resource!r}{seen!r}"
