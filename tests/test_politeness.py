"""Servers are asked no faster than agreed, never for what their robots.txt bars, and again only where that may help."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from rar_pipeline import politeness
from rar_pipeline.errors import RarError
from rar_pipeline.fetch import download
from rar_pipeline.politeness import DisallowedError, Manners, polite_client, user_agent
from rar_pipeline.publishers import CHECKSUMS, PUBLISHERS
from tests.loopback import Answer, Loopback, loopback

QUICK = Manners(user_agent("me@example.org"), rate=1000, attempts=3, backoff=0.001)


@pytest.fixture
def server() -> Iterator[Loopback]:
    politeness._robots.cache_clear()
    with loopback() as running:
        running.answer = lambda asked: Answer(b"x")
        yield running


def rules(text: str) -> Answer:
    return Answer(text.encode(), headers={"Content-Type": "text/plain"})


def test_one_host_is_asked_at_the_agreed_rate_by_all_clients_together(server: Loopback) -> None:
    manners = Manners("test", rate=20)
    for _ in range(3):
        with polite_client(manners, robots=False) as client:
            for number in range(3):
                client.get(f"{server.address}/{number}")
    gaps = [later.at - earlier.at for earlier, later in pairwise(server.requests)]
    assert len(gaps) == 8
    assert min(gaps) > 0.04, "50 ms less the jitter of a busy machine"
    assert sum(gaps) < 2


def test_hosts_do_not_wait_for_each_other(server: Loopback) -> None:
    with loopback() as other, polite_client(Manners("test", rate=2), robots=False) as client:
        other.answer = server.answer
        begun = time.monotonic()
        for address in (server.address, other.address):
            client.get(address)
        assert time.monotonic() - begun < 0.4


def test_a_redirect_is_a_request_too(server: Loopback) -> None:
    server.robots = rules("User-agent: *\nDisallow: /private/")
    server.answer = lambda asked: Answer(status=302, headers={"Location": "/private/x"}) if asked.path == "/x" else Answer(b"x")
    with polite_client(QUICK, follow_redirects=True) as client, pytest.raises(DisallowedError, match="/private/x"):
        client.get(f"{server.address}/x")
    assert server.paths() == ["/x"]


def test_what_robots_txt_bars_is_not_asked_for(server: Loopback, tmp_path: Path) -> None:
    server.robots = rules("User-agent: *\nDisallow: /\n\nUser-agent: rar-pipeline\nDisallow: /private/\n")
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(DisallowedError, match=r"^http://127\.0\.0\.1:\d+/private/x: robots\.txt of 127\.0\.0\.1 bars programs"):
        download(f"{server.address}/private/x", tmp_path / "x", manners=QUICK, log=print)
    assert server.requests == []
    assert (tmp_path / "x").read_bytes() == b"old"
    assert download(f"{server.address}/public/x", tmp_path / "x", manners=QUICK, log=print).path.read_bytes() == b"x"


def test_robots_txt_is_read_once_a_host(server: Loopback, tmp_path: Path) -> None:
    for name in "abc":
        download(f"{server.address}/{name}", tmp_path / name, manners=QUICK, log=print)
    assert server.robots_asked == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_host_without_robots_txt_allows_all(server: Loopback, status: int) -> None:
    server.robots = Answer(b"User-agent: *\nDisallow: /", status)
    with polite_client(QUICK) as client:
        assert client.get(f"{server.address}/x").status_code == 200


@pytest.mark.parametrize("status", [500, 503, 520, 429])
def test_a_host_that_cannot_say_what_it_bars_is_left_alone(server: Loopback, status: int) -> None:
    server.robots = Answer(status=status)
    with polite_client(QUICK) as client:
        with pytest.raises(RarError, match=rf"/x: not asked for, since robots\.txt there cannot be read .*HTTP {status}"):
            client.get(f"{server.address}/x")
        assert server.requests == []
        server.robots = None
        assert client.get(f"{server.address}/x").status_code == 200, "asked again, not remembered"


def test_a_crawl_delay_slows_down(server: Loopback) -> None:
    server.robots = rules("User-agent: *\nCrawl-delay: 0.2")
    with polite_client(QUICK) as client:
        for _ in range(3):
            client.get(f"{server.address}/x")
    assert server.requests[-1].at - server.requests[0].at > 0.38


def test_documented_apis_are_not_crawled(server: Loopback) -> None:
    server.robots = rules("User-agent: *\nDisallow: /api/")
    with polite_client(QUICK, robots=False) as client:
        assert client.get(f"{server.address}/api/x").status_code == 200
    assert server.robots_asked == 0


def test_a_huge_robots_txt_is_read_as_far_as_must_be(server: Loopback) -> None:
    server.robots = rules("User-agent: *\nDisallow: /x\n" + "#" * 2_000_000)
    with polite_client(QUICK) as client, pytest.raises(DisallowedError):
        client.get(f"{server.address}/x")


def test_no_publishers_file_lies_where_robots_txt_of_github_bars_programs() -> None:
    addresses = [file.address for publisher in PUBLISHERS.values() for file in publisher.files if file.address]
    assert not [url for url in (*addresses, *CHECKSUMS) if httpx.URL(url).host == "github.com"]
    assert set(CHECKSUMS) <= set(addresses)
