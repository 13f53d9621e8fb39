"""Wherever raw files come from, they end as the same table; what is missing is named, and nothing lands outside its folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from rar_pipeline import sources
from rar_pipeline.errors import RarError
from rar_pipeline.sources import PUBLISHERS, collect, paths, sample_world
from rar_pipeline.tables import RAW_FILES

IMDB = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics")


def write(path: Path, content: bytes = b"a\tb\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A mirror with every kind of name: gzipped and plain, in a folder of its own, by pattern, and strangers."""
    folder = tmp_path / "mirror"
    for number, name in enumerate(IMDB):
        write(folder / "imdb" / (name + (".tsv.gz" if number % 2 else ".tsv")), name.encode())
    for name in ("movies", "links"):
        write(folder / "movielens" / "ml-32m" / f"{name}.csv.gz")
    for name in ("movies-1990s.json", "movies-2000s.json.gz", "movies-notes.txt", "read.me"):
        write(folder / "wikipedia" / name)
    write(folder / "reddit" / "reddit_v2_sample_7.jsonl.gz")
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Unlisted(Quiet):
    def list_directory(self, path: object) -> None:
        self.send_error(403)


@pytest.fixture(params=[Quiet, Unlisted])
def address(request, tmp_path: Path) -> Iterator[str]:
    """The address of `tmp_path`, on a server that lists its folders and on one that does not."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def gather(tmp_path: Path, lines: list[str]):
    def run(publisher: str, named: object) -> pl.DataFrame:
        return collect(publisher, str(named), tmp_path / "raw", contact="", seed=0, log=lines.append, rate=1000)

    return run


def test_a_folder_is_read_in_place_with_size_and_hash(gather, world: Path, tmp_path: Path) -> None:
    frame = gather("imdb", world)
    assert frame.schema == RAW_FILES.schema
    assert frame["file"].to_list() == sorted(f"imdb/{name}.tsv" for name in IMDB)
    for row in frame.iter_rows(named=True):
        path = Path(row["path"])
        assert path.is_relative_to(world)
        assert (row["bytes"], row["sha256"]) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        assert (row["publisher"], row["origin"]) == ("imdb", str(world))
    assert not (tmp_path / "raw").exists(), "nothing is copied"


def test_paths_are_found_by_the_name_without_gz(gather, world: Path) -> None:
    assert paths(gather("movielens", world)) == {
        f"movielens/ml-32m/{name}.csv": world / "movielens" / "ml-32m" / f"{name}.csv.gz" for name in ("links", "movies")
    }


def test_a_pattern_takes_what_it_names_and_nothing_else(gather, world: Path) -> None:
    assert set(paths(gather("wikipedia", world))) == {"wikipedia/movies-1990s.json", "wikipedia/movies-2000s.json"}


def test_a_file_that_changes_gets_another_hash(gather, world: Path) -> None:
    before = gather("imdb", world)
    write(world / "imdb" / "title.basics.tsv", b"more rows")
    changed = before.join(gather("imdb", world), on="file").filter(pl.col("sha256") != pl.col("sha256_right"))
    assert changed["file"].to_list() == ["imdb/title.basics.tsv"]


def test_a_missing_required_file_is_named_with_its_place(gather, world: Path) -> None:
    (world / "imdb" / "title.crew.tsv").unlink()
    with pytest.raises(RarError, match=rf"^imdb/title\.crew\.tsv: missing \({world}\)"):
        gather("imdb", world)
    with pytest.raises(RarError, match=r"^redial/train_data\.jsonl: missing"):
        gather("redial", world)


def test_an_optional_publisher_may_be_absent_but_not_in_part(gather, world: Path, lines: list[str]) -> None:
    assert gather("tmdb", world).equals(RAW_FILES.empty())
    assert "tmdb: left out" in lines[0]
    (world / "movielens" / "ml-32m" / "links.csv.gz").unlink()
    with pytest.raises(RarError, match=r"movielens/ml-32m/links\.csv: missing"):
        gather("movielens", world)


@pytest.mark.parametrize("named", ["nowhere", "", "ftp://me:hunter2@host/x", "s3://bucket/x", "sampel"])
def test_unknown_sources_are_refused_with_what_is_allowed(gather, named: str) -> None:
    with pytest.raises(RarError, match=r"^RAR_SOURCES=.*sample, upstream, a folder, or an http") as caught:
        gather("imdb", named)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_publisher_is_refused_with_those_known(gather, world: Path) -> None:
    with pytest.raises(RarError, match="publisher 'imbd': unknown; one of imdb, movielens"):
        gather("imbd", world)


def test_a_mirror_over_http_gives_the_same_files_as_its_folder(gather, world: Path, address: str, tmp_path: Path) -> None:
    for publisher in ("imdb", "movielens", "wikipedia", "omdb"):
        near, far = gather(publisher, world), gather(publisher, f"{address}/mirror/")
        assert far.select("file", "bytes", "sha256").equals(near.select("file", "bytes", "sha256"))
        assert all(path.is_relative_to(tmp_path / "raw" / publisher) for path in paths(far).values())
    assert gather("imdb", f"{address}/mirror")["origin"][0] == f"{address}/mirror/imdb/name.basics.tsv"


def test_an_unchanged_mirror_sends_nothing_again(gather, world: Path, address: str, lines: list[str]) -> None:
    first = gather("movielens", f"{address}/mirror")
    lines.clear()
    assert gather("movielens", f"{address}/mirror").equals(first)
    assert [line.split(" at ")[0] for line in lines] == ["movies.csv.gz: unchanged", "links.csv.gz: unchanged"]


def test_a_mirror_that_lists_its_folders_may_use_other_names_of_a_pattern(gather, world: Path, address: str, request) -> None:
    frame = gather("reddit", f"{address}/mirror")
    listed = Quiet in request.node.callspec.params.values()
    assert frame["file"].to_list() == (["reddit/reddit_v2_sample_7.jsonl"] if listed else [])


def test_names_in_a_listing_cannot_leave_the_folder() -> None:
    page = '<a href="../../x/reddit_v2_sample_1.jsonl">a</a><a href="..%2f..%2freddit_v2_sample_2.jsonl.gz?k=1">b</a><a href="/">c</a><a>d</a>'
    assert list(sources._links(page)) == ["reddit_v2_sample_1.jsonl", "reddit_v2_sample_2.jsonl.gz", ""]
    pattern = PUBLISHERS["reddit"].files[0]
    assert not pattern.matches("../reddit_v2_sample_1.jsonl")
    assert not pattern.matches("reddit_v2_sample_/../../x.jsonl")


def at(monkeypatch, publisher: str, address: str) -> None:
    """Let a publisher's own addresses lead to `address`."""
    there = PUBLISHERS[publisher]
    moved = [replace(file, address=file.address and f"{address}/{file.address.rsplit('/', 1)[-1]}") for file in there.files]
    monkeypatch.setitem(sources.PUBLISHERS, publisher, replace(there, files=tuple(moved)))


def zipped(path: Path, members: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path.write_bytes(packed.getvalue())


def test_upstream_archives_are_unpacked_and_the_terms_told_once(gather, address: str, tmp_path: Path, monkeypatch, lines) -> None:
    zipped(tmp_path / "ml-32m.zip", {"ml-32m/movies.csv": b"m", "ml-32m/links.csv": b"l", "ml-32m/ratings.csv": b"r"})
    at(monkeypatch, "movielens", address)
    frame = gather("movielens", "upstream")
    assert {name: path.read_bytes() for name, path in paths(frame).items()} == {
        "movielens/ml-32m/movies.csv": b"m",
        "movielens/ml-32m/links.csv": b"l",
    }
    assert not list(tmp_path.rglob("ratings.csv"))
    assert frame["origin"].unique().to_list() == [f"{address}/ml-32m.zip"]
    assert gather("movielens", "upstream").equals(frame)
    assert len([line for line in lines if "Terms: research use" in line]) == 1


def test_a_changed_archive_is_unpacked_again(gather, address: str, tmp_path: Path, monkeypatch) -> None:
    at(monkeypatch, "movielens", address)
    for content in (b"old", b"new"):
        zipped(tmp_path / "ml-32m.zip", {"movies.csv": content, "links.csv": b"l"})
        (tmp_path / "raw" / "movielens" / ".ml-32m.zip.fetched.json").unlink(missing_ok=True)
        assert paths(gather("movielens", "upstream"))["movielens/ml-32m/movies.csv"].read_bytes() == content


def test_members_of_an_archive_cannot_leave_the_folder(gather, address: str, tmp_path: Path, monkeypatch) -> None:
    zipped(tmp_path / "ml-32m.zip", {"../../../movies.csv": b"m", "/links.csv": b"l", "../evil.csv": b"e"})
    at(monkeypatch, "movielens", address)
    found = paths(gather("movielens", "upstream"))
    assert all(path.is_relative_to(tmp_path / "raw" / "movielens" / "ml-32m") for path in found.values())
    assert not list(tmp_path.rglob("evil.csv"))
    assert not (tmp_path / "movies.csv").exists()


def test_an_archive_without_its_file_is_named(gather, address: str, tmp_path: Path, monkeypatch) -> None:
    zipped(tmp_path / "ml-32m.zip", {"ml-32m/movies.csv": b"m"})
    at(monkeypatch, "movielens", address)
    with pytest.raises(RarError, match=r"ml-32m\.zip: 0 members are named links\.csv"):
        gather("movielens", "upstream")


def test_upstream_says_why_a_publisher_is_not_polled(gather, lines: list[str]) -> None:
    for publisher in PUBLISHERS.values():
        if publisher.unpolled:
            assert gather(publisher.name, "upstream").is_empty()
            assert publisher.unpolled in lines[-2]


def test_upstream_that_has_moved_is_named_with_the_way_out(gather, address: str, monkeypatch) -> None:
    at(monkeypatch, "inspired", address)
    with pytest.raises(RarError, match=r"train\.tsv: HTTP 404.*name a mirror in RAR_SOURCES"):
        gather("inspired", "upstream")


def test_the_sample_world_is_written_once_for_a_seed(tmp_path: Path, lines: list[str]) -> None:
    written: list[int] = []

    def write_world(folder: Path, seed: int) -> None:
        written.append(seed)
        write(folder / "imdb" / "title.basics.tsv", str(seed).encode())

    worlds = [sample_world(tmp_path / "raw", seed, lines.append, write_world) for seed in (0, 0, 1)]
    assert written == [0, 1]
    assert worlds[0] == worlds[1] != worlds[2]


def test_a_sample_world_that_breaks_off_leaves_nothing(tmp_path: Path, lines: list[str]) -> None:
    def write_half(folder: Path, seed: int) -> None:
        write(folder / "imdb" / "title.basics.tsv")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_world(tmp_path / "raw", 0, lines.append, write_half)
    assert list((tmp_path / "raw").iterdir()) == []


def test_every_publisher_has_terms_a_citation_and_a_way_to_its_files() -> None:
    for publisher in PUBLISHERS.values():
        assert publisher.terms and publisher.citation
        addressed = [file for file in publisher.files if file.address]
        assert bool(addressed) != bool(publisher.unpolled)
        assert publisher.optional or all(file.address for file in publisher.files if file.required)


def test_the_page_for_users_names_every_publisher_with_its_terms_and_addresses() -> None:
    page = (Path(sources.__file__).parent.parent / "docs" / "sources.md").read_text(encoding="utf-8")
    for publisher in PUBLISHERS.values():
        assert f"## {publisher.title} (`{publisher.name}/`)" in page
        assert publisher.citation in page
        for said in (
            publisher.unpolled,
            publisher.key,
            *publisher.terms.split("; "),
            *(file.address or "" for file in publisher.files),
        ):
            assert said in page, f"{publisher.name}: {said}"


def test_the_real_mirror_is_complete(gather, mirror: Path) -> None:
    frames = {name: gather(name, mirror) for name in PUBLISHERS}
    assert all(frame.height for frame in frames.values())
    assert frames["wikipedia"].height == 13
