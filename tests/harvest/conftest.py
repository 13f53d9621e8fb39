"""A loopback server in the place of every publisher's host, and a harvest that asks it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest

from rar_pipeline import politeness
from rar_pipeline.publishers import PUBLISHERS, TMDB_EXPORT
from rar_pipeline.sources import Upstream, collect
from tests.loopback import Loopback, loopback

HOSTS = sorted(
    {
        urlsplit(address).netloc
        for address in (TMDB_EXPORT, *(f.address for p in PUBLISHERS.values() for f in p.files if f.address))
    }
)
SECRET = "planted-5ecret-key"


@dataclass
class World:
    """What one user has: a raw folder, keys, and a log."""

    raw: Path
    server: Loopback
    lines: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=lambda: {"TMDB_API_KEY": SECRET, "OMDB_API_KEY": SECRET})
    sources: str = "upstream"
    login: str = ""  # of the host that stands in for the publishers' hosts

    def gather(self, publisher: str, limit: int = 1000, days: float = 30.0) -> pl.DataFrame:
        there = self.server.address.replace("://", f"://{self.login}")
        hosts = {host: f"{there}/{host}" for host in HOSTS}
        upstream = Upstream(hosts=hosts, keys=self.keys, limit=limit, days=days)
        return collect(publisher, self.sources, self.raw, contact="", seed=0, log=self.lines.append, rate=1000, upstream=upstream)

    def records(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.raw / name).read_text(encoding="utf-8").splitlines()]

    def put(self, name: str, text: str) -> Path:
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        return path


@pytest.fixture
def server() -> Iterator[Loopback]:
    politeness._robots.cache_clear()
    with loopback() as running:
        yield running


@pytest.fixture
def world(server: Loopback, tmp_path: Path, monkeypatch) -> World:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    return World(tmp_path / "raw", server)


@pytest.fixture
def imdb(world: World) -> list[str]:
    """IMDb's files as fetched before: films, and what must not be asked for. Returns the films' ids, most votes first."""
    rows = [
        ("tt0000001", "movie", "0", 5),
        ("tt0000002", "movie", "0", 900),
        ("tt0000003", "tvMovie", "0", 70),
        ("tt0000004", "tvSeries", "0", 9999),
        ("tt0000005", "movie", "1", 9999),
    ]
    columns = "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"
    basics = "".join(f'{tconst}\t{kind}\tA "x\tA\t{adult}\t1999\t\\N\t90\tDrama\n' for tconst, kind, adult, _ in rows)
    world.put("imdb/title.basics.tsv.gz", columns + basics)
    votes = "".join(f"{tconst}\t7.0\t{count}\n" for tconst, _, _, count in rows)
    world.put("imdb/title.ratings.tsv.gz", "tconst\taverageRating\tnumVotes\n" + votes)
    return ["tt0000002", "tt0000003", "tt0000001"]
