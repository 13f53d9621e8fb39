"""A harvest may be killed, limited or refused: what came is kept, nothing is asked for twice, and no key is written anywhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.harvest import client
from rar_pipeline.sources import paths
from tests.harvest.conftest import HOSTS, SECRET, World
from tests.loopback import Answer, Asked, Loopback, told

OMDB = "/www.omdbapi.com/"


def film(asked: Asked) -> Answer | None:
    return told({"imdbID": asked.query["i"], "Title": f"Film {asked.query['i']}", "Type": "movie", "Response": "True"})


@pytest.fixture
def omdb(world: World, imdb: list[str], server: Loopback) -> World:
    server.answer = film
    return world


def ids(world: World) -> list[str]:
    return [record["imdbID"] for record in world.records("omdb/movies.jsonl")]


def asked(server: Loopback) -> list[str]:
    return [request.query["i"] for request in server.requests]


def test_answers_become_the_file_of_the_layout(omdb: World, imdb: list[str], server: Loopback) -> None:
    frame = omdb.gather("omdb")
    assert asked(server) == imdb, "most votes first; no series, nothing adult"
    assert paths(frame) == {"omdb/movies.jsonl": omdb.raw / "omdb" / "movies.jsonl"}
    assert ids(omdb) == sorted(imdb)
    assert all("rar-pipeline" in request.headers["user-agent"] for request in server.requests)


def test_answers_without_cache_headers_are_kept_for_the_days_set(omdb: World, server: Loopback, monkeypatch) -> None:
    first = omdb.gather("omdb", days=10)
    assert omdb.gather("omdb", days=10).equals(first)
    assert len(server.requests) == 3
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11 * 86_400)
    omdb.gather("omdb", days=10)
    assert len(server.requests) == 6


def test_an_answer_that_is_old_is_asked_for_on_condition_that_it_changed(omdb: World, server: Loopback, monkeypatch) -> None:
    def tagged(request: Asked) -> Answer:
        answer = film(request)
        # shorter than the days that the user set, as most APIs say
        answer.headers |= {"ETag": f'"{request.query["i"]}"', "Cache-Control": "public, max-age=1", "Age": "5"}
        return answer

    server.answer = tagged
    first = omdb.gather("omdb")
    assert omdb.gather("omdb").equals(first)
    assert len(server.requests) == 3
    now = time.time()
    for day in (31, 32):
        monkeypatch.setattr(time, "time", lambda day=day: now + day * 86_400)
        assert omdb.gather("omdb").equals(first)
    conditions = [request.headers.get("if-none-match") for request in server.requests]
    assert conditions == [None] * 3 + ['"tt0000002"', '"tt0000003"', '"tt0000001"']


def test_a_run_asks_for_no_more_than_its_limit_and_the_next_goes_on(omdb: World, imdb: list[str], server: Loopback) -> None:
    for run in (1, 2, 3, 4):
        omdb.gather("omdb", limit=1)
        assert asked(server) == imdb[:run]
        assert ids(omdb) == sorted(imdb[:run])
    assert "2 left for the next run: RAR_HARVEST_LIMIT=1" in omdb.lines[1]
    assert omdb.gather("omdb", limit=0).height == 1


def test_a_record_that_fails_costs_that_record(omdb: World, imdb: list[str], server: Loopback) -> None:
    server.answer = lambda request: Answer(status=500) if request.query["i"] == imdb[0] else film(request)
    omdb.gather("omdb")
    assert ids(omdb) == sorted(imdb[1:])
    assert "2 answers, 2 of them new, 1 failed (first: tt0000002: " in omdb.lines[-1]
    server.answer = film
    omdb.gather("omdb")
    assert ids(omdb) == sorted(imdb)
    assert Counter(asked(server)) == {imdb[0]: 7, imdb[1]: 1, imdb[2]: 1}


@pytest.mark.parametrize(
    "page", [Answer(b"<html>down for maintenance", 200, {"Content-Type": "text/html"}), told([1]), told({"Response": "True"})]
)
def test_an_answer_of_another_shape_is_no_record(omdb: World, imdb: list[str], server: Loopback, page: Answer) -> None:
    server.faults = [page]
    omdb.gather("omdb")
    assert ids(omdb) == sorted(imdb[1:])
    assert "1 failed" in omdb.lines[-1]


def test_a_page_in_place_of_an_answer_is_not_kept(omdb: World, imdb: list[str], server: Loopback) -> None:
    server.faults = [Answer(b"<html>down for maintenance", 200, {"Content-Type": "text/html", "Cache-Control": "max-age=9999"})]
    omdb.gather("omdb")
    omdb.gather("omdb")
    assert ids(omdb) == sorted(imdb)


def test_what_passes_is_tried_again(omdb: World, imdb: list[str], server: Loopback, monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    whole = film(Asked("", {"i": imdb[0]}, {}, 0))
    server.faults = [
        Answer(status=500),
        Answer(status=429, headers={"Retry-After": "7"}),
        Answer(whole.body, 200, whole.headers, cut=10),
        Answer(status=503),
    ]
    omdb.gather("omdb")
    assert ids(omdb) == sorted(imdb)
    assert Counter(asked(server))[imdb[0]] == 5
    assert slept[1] >= 7


def test_a_server_that_wants_to_be_left_alone_is(omdb: World, imdb: list[str], server: Loopback) -> None:
    server.faults = [film(Asked("", {"i": imdb[0]}, {}, 0)), Answer(status=429, headers={"Retry-After": "7200"})]
    omdb.gather("omdb")
    assert asked(server) == imdb[:2]
    assert ids(omdb) == imdb[:1]
    assert "asks to wait 7200 s" in omdb.lines[-1]


def test_a_server_that_only_fails_is_given_up_and_told(omdb: World, server: Loopback) -> None:
    server.answer = lambda request: Answer(status=503)
    with pytest.raises(RarError, match=r"^omdb: none of 3 questions was answered \(tt0000002: http://.*HTTP 503, 6 times"):
        omdb.gather("omdb")


def test_a_server_that_only_fails_costs_nothing_of_what_is_there(omdb: World, server: Loopback) -> None:
    before = omdb.gather("omdb", limit=1)
    server.answer = lambda request: Answer(status=503)
    assert omdb.gather("omdb").equals(before)
    assert "2 failed (first: tt0000003" in omdb.lines[-1]


def test_a_server_that_keeps_failing_is_left_alone(omdb: World, server: Loopback) -> None:
    many = [f"tt{number:07}" for number in range(1, 30)]
    omdb.put("imdb/title.basics.tsv.gz", "tconst\ttitleType\tisAdult\n" + "".join(f"{one}\tmovie\t0\n" for one in many))
    omdb.put("imdb/title.ratings.tsv.gz", "tconst\tnumVotes\n" + "".join(f"{one}\t9\n" for one in many))
    server.answer = lambda request: Answer(status=404 if request.query["i"] == many[0] else 501)
    omdb.gather("omdb")
    assert asked(server) == many[:11]
    assert "18 left for the next run: 10 failures in a row" in omdb.lines[-2]


def test_a_killed_harvest_asks_for_nothing_that_it_has(omdb: World, server: Loopback) -> None:
    many = [f"tt{number:07}" for number in range(1, 121)]
    omdb.put("imdb/title.basics.tsv.gz", "tconst\ttitleType\tisAdult\n" + "".join(f"{one}\tmovie\t0\n" for one in many))
    omdb.put("imdb/title.ratings.tsv.gz", "tconst\tnumVotes\n" + "".join(f"{one}\t9\n" for one in many))
    program = (
        "import sys, pathlib; from rar_pipeline.sources import Upstream, collect;"
        "upstream = Upstream(hosts={'www.omdbapi.com': sys.argv[1]}, keys={'OMDB_API_KEY': 'k'});"
        "collect('omdb', 'upstream', pathlib.Path(sys.argv[2]), contact='', seed=0, log=print, rate=1000, upstream=upstream)"
    )
    command = [sys.executable, "-c", program, f"{server.address}/www.omdbapi.com", str(omdb.raw)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 30
    while len(server.requests) < 40 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    killed = len(server.requests)
    assert 40 <= killed < len(many)
    assert not (omdb.raw / "omdb" / "movies.jsonl").exists()
    omdb.gather("omdb")
    assert ids(omdb) == many
    assert len(server.requests) <= len(many) + 1, "only the answer that was on its way may be asked for again"
    assert f"{len(many):,} answers" in omdb.lines[-1]


def test_no_key_is_ever_written(omdb: World, imdb: list[str], server: Loopback, caplog) -> None:
    caplog.set_level(0)
    for key in (SECRET, "0123456789abcdef0123456789abcdef"):
        omdb.keys = {"TMDB_API_KEY": key, "OMDB_API_KEY": key}
        server.faults = [Answer(status=500), Answer(status=302, headers={"Location": f"/x?apikey={key}"})]
        omdb.gather("omdb")
        sent = [request.query.get("apikey") for request in server.requests]
        assert key in sent, "the server did get it"
        server.faults = [told({"Error": "Invalid API key!"}, 401)]
        (omdb.raw / "omdb" / "movies.jsonl").unlink()
        omdb.raw.joinpath("answers", "omdb.sqlite").rename(omdb.raw / "answers" / f"omdb-{len(key)}.sqlite")
        with pytest.raises(RarError, match="OMDB_API_KEY: OMDb does not take this key") as refused:
            omdb.gather("omdb")
        told_to_user = "\n".join([*omdb.lines, caplog.text, str(refused.value), repr(omdb.keys and HOSTS)])
        assert key not in told_to_user
        written = [path for path in omdb.raw.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
        assert written == []
    assert any(path.suffix == ".sqlite" for path in omdb.raw.rglob("*"))


def test_a_password_of_a_proxy_reaches_it_and_nothing_else(omdb: World, server: Loopback) -> None:
    omdb.login = f"me:{SECRET}@"
    omdb.keys = {"OMDB_API_KEY": "k"}
    server.faults = [Answer(status=500)]
    frame = omdb.gather("omdb")
    assert all(request.headers["authorization"].startswith("Basic ") for request in server.requests)
    basic = server.requests[0].headers["authorization"].removeprefix("Basic ").encode()
    omdb.gather("omdb")
    assert len(server.requests) == 4
    assert SECRET not in "\n".join([*omdb.lines, *frame["origin"]])
    contents = [path.read_bytes() for path in omdb.raw.rglob("*") if path.is_file()]
    assert not [content for content in contents if SECRET.encode() in content or basic in content]


def test_progress_says_how_fast_and_how_much_is_left(omdb: World, monkeypatch) -> None:
    monkeypatch.setattr(client, "PROGRESS_EVERY", 0.0)
    omdb.gather("omdb", limit=2)
    first = next(line for line in omdb.lines if " done, " in line)
    assert re.fullmatch(r"omdb: 1 of 3 done, 1 newly asked, [\d.]+/s, 1 to go, \d+ s left", first)
