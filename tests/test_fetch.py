"""A file that crosses an unreliable network is whole and the server's, or it is not there."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import random
import threading
import time
import zipfile
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rar_pipeline import fetch, politeness
from rar_pipeline.errors import RarError
from rar_pipeline.fetch import download
from rar_pipeline.politeness import Manners, RefusedError, shown, user_agent

BODY = random.Random(0).randbytes(200_000)


class Origin(ThreadingHTTPServer):
    """One file with an ETag, served with ranges and conditions; `faults` are met first, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, '"one"'
        self.faults: list[int | tuple[int, dict[str, str]]] = []  # bytes after which to cut, or a status with headers
        self.requests: list[dict[str, str]] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/title.basics.tsv"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet, or the client waits 40 ms for the second
    server: Origin

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/robots.txt":
            return self.send_error(404)
        origin, asked = self.server, {name.lower(): value for name, value in self.headers.items()}
        origin.requests.append(asked)
        fault = origin.faults.pop(0) if origin.faults else len(origin.body) + 1
        if isinstance(fault, tuple):
            return self.answer(fault[0], b"", **fault[1])
        if asked.get("if-none-match") == origin.etag:
            return self.answer(304, b"")
        if "range" in asked and asked.get("if-range") == origin.etag:
            start = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(origin.body):
                return self.answer(416, b"", **{"Content-Range": f"bytes */{len(origin.body)}"})
            said = {"Content-Range": f"bytes {start}-{len(origin.body) - 1}/{len(origin.body)}"}
            return self.answer(206, origin.body[start:], fault, **said)
        return self.answer(200, origin.body, fault)

    def answer(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": self.server.etag, **headers}.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body if cut is None else body[:cut]
        self.server.sent += len(sent)  # before the client can know of it
        self.wfile.write(sent)
        self.wfile.flush()
        self.close_connection = len(sent) < len(body)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def get(origin: Origin, tmp_path: Path, lines: list[str]):
    def run(name: str = "title.basics.tsv", url: str = "", attempts: int = 6, **options):
        manners = Manners(user_agent("me@example.org"), rate=1000, attempts=attempts, backoff=0.001)
        return download(url or origin.url, tmp_path / name, manners=manners, log=lines.append, **options)

    return run


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_arrives_is_what_was_sent_and_the_server_knows_who_asks(get, origin: Origin) -> None:
    fetched = get(sha256=hashlib.sha256(BODY).hexdigest())
    assert fetched.path.read_bytes() == BODY
    assert (fetched.sha256, fetched.bytes, fetched.status) == (hashlib.sha256(BODY).hexdigest(), len(BODY), 200)
    assert "rar-pipeline" in origin.requests[0]["user-agent"]
    assert "me@example.org" in origin.requests[0]["user-agent"]


def test_an_unchanged_file_is_not_sent_again(get, origin: Origin) -> None:
    first, second = get(), get()
    assert (second.status, second.sha256, second.path) == (304, first.sha256, first.path)
    assert origin.sent == len(BODY)


def test_a_changed_file_is_sent_again(get, origin: Origin) -> None:
    get()
    origin.body, origin.etag = b"tomorrow", '"two"'
    assert get().path.read_bytes() == b"tomorrow"


def test_a_local_file_that_was_tampered_with_is_fetched_anew(get) -> None:
    get().path.write_bytes(b"tampered")
    again = get()
    assert (again.status, again.path.read_bytes()) == (200, BODY)


def test_a_copy_from_another_address_is_no_copy_of_this_one(get, origin: Origin) -> None:
    get()
    get(url=origin.url.replace("title", "other"))
    assert "if-none-match" not in origin.requests[1]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(get, origin: Origin, lines: list[str], form: str, monkeypatch) -> None:
    asked = "1" if form == "seconds" else formatdate(time.time() + 1000, usegmt=True)
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    monkeypatch.setattr(politeness, "LONGEST_WAIT", 2000.0)
    origin.faults = [(429, {"Retry-After": asked})]
    assert get().path.read_bytes() == BODY
    assert len(slept) == 1
    assert slept[0] >= (1 if form == "seconds" else 900)
    assert any("429" in line for line in lines)


def test_a_server_that_asks_for_an_hour_is_left_alone(get, origin: Origin) -> None:
    origin.faults = [(503, {"Retry-After": "3600"})]
    with pytest.raises(RefusedError, match="3600 s"):
        get()
    assert len(origin.requests) == 1


def test_server_errors_pass(get, origin: Origin) -> None:
    origin.faults = [(500, {}), (502, {}), (503, {}), (504, {})]
    assert get().path.read_bytes() == BODY


def test_server_errors_that_stay_are_told_in_one_line_and_leave_the_old_copy(get, origin: Origin, tmp_path: Path) -> None:
    get()
    origin.etag, origin.faults = '"two"', [(500, {})] * 3
    with pytest.raises(RarError, match=r"^http://127\.0\.0\.1:\d+/title\.basics\.tsv: HTTP 500, 3 times; .*$") as caught:
        get(attempts=3)
    assert "\n" not in str(caught.value)
    assert len(origin.requests) == 4
    assert (tmp_path / "title.basics.tsv").read_bytes() == BODY


def test_nobody_listening_is_one_clear_line(get) -> None:
    with pytest.raises(RarError, match=r"^http://127\.0\.0\.1:9/x: not asked for, since robots\.txt .*ConnectError"):
        get(url="http://127.0.0.1:9/x", attempts=2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_other_statuses_fail_at_once_and_name_address_and_status(get, origin: Origin, tmp_path: Path, status: int) -> None:
    origin.faults = [(status, {})]
    with pytest.raises(RefusedError, match=rf"title\.basics\.tsv: HTTP {status}") as caught:
        get()
    assert caught.value.status == status
    assert len(origin.requests) == 1
    assert left(tmp_path) == set()


def test_a_cut_connection_is_resumed_where_it_broke(get, origin: Origin) -> None:
    origin.faults = [len(BODY) // 2]
    assert get().path.read_bytes() == BODY
    assert origin.requests[1]["range"].startswith("bytes=")
    assert origin.requests[1]["if-range"] == '"one"'
    assert origin.sent == len(BODY), "no byte was sent twice"


def test_the_next_run_resumes_what_the_last_one_left(get, origin: Origin, tmp_path: Path) -> None:
    origin.faults = [len(BODY) // 2]
    with pytest.raises(RarError, match="what has come is kept"):
        get(attempts=1)
    assert not (tmp_path / "title.basics.tsv").exists()
    assert get().path.read_bytes() == BODY
    assert origin.sent == len(BODY)


def test_a_run_that_ended_just_before_the_checks_fetches_nothing_again(get, origin: Origin, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetch, "_believed", interrupt)
        get()
    assert get().path.read_bytes() == BODY
    assert origin.sent == len(BODY)


def test_halves_of_two_versions_are_never_joined(get, origin: Origin) -> None:
    origin.faults = [len(BODY) // 2]
    with pytest.raises(RarError):
        get(attempts=1)
    origin.body, origin.etag = BODY[::-1], '"two"'
    assert get().path.read_bytes() == BODY[::-1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=4))
def test_wherever_the_connection_breaks_the_file_is_whole(get, origin: Origin, cuts: list[int]) -> None:
    origin.faults, origin.etag = list(cuts), f'"{random.random()}"'
    assert get().path.read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(get, tmp_path: Path) -> None:
    with pytest.raises(RarError, match=r"title\.basics\.tsv: SHA-256 is .*, expected 00"):
        get(sha256="00")
    assert not any(name.endswith((".tsv", ".part")) for name in left(tmp_path))


def test_every_version_that_came_is_kept_and_equal_ones_once(get, origin: Origin, tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    for etag, body in (('"one"', BODY), ('"two"', b"tomorrow"), ('"three"', BODY)):
        origin.body, origin.etag = body, etag
        assert get(objects=objects).path.read_bytes() == body
    other = get("copy.tsv", url=origin.url.replace("title", "other"), objects=objects)
    assert left(objects) == {hashlib.sha256(body).hexdigest() for body in (BODY, b"tomorrow")}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in objects.iterdir())
    assert other.path.samefile(objects / other.sha256), "no second copy on the disk"


def test_a_truncated_gzip_is_not_believed_and_the_old_copy_stays(get, origin: Origin, tmp_path: Path) -> None:
    whole = origin.body = gzip.compress(BODY)
    get("a.tsv.gz")
    origin.body, origin.etag = whole[: len(whole) // 2], '"two"'
    with pytest.raises(RarError, match=r"damaged gz .*thrown away"):
        get("a.tsv.gz")
    assert (tmp_path / "a.tsv.gz").read_bytes() == whole


def test_a_damaged_zip_is_not_believed(get, origin: Origin, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("movies.csv", BODY)
    origin.body = packed.getvalue().replace(BODY[:1000], BODY[1000:2000])
    with pytest.raises(RarError, match="damaged zip"):
        get("a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_secrets_of_an_address_are_never_told(get, origin: Origin, tmp_path: Path, lines: list[str], caplog) -> None:
    caplog.set_level(logging.INFO)
    secret = origin.url.replace("http://", "http://me:hunter2@") + "?api_key=k3y&v=1#fragment"
    origin.faults = [(500, {}), 100]
    get(url=secret)
    assert origin.requests[0]["authorization"].startswith("Basic ")
    origin.faults = [(404, {})]
    with pytest.raises(RefusedError) as refused:
        get(url=secret)
    origin.faults = [(500, {})]
    with pytest.raises(RarError) as failed:
        get(url=secret, attempts=1)
    notes = [path.read_text() for path in tmp_path.iterdir() if path.suffix == ".json"]
    told = "\n".join([*lines, *notes, str(refused.value), str(failed.value), caplog.text])
    assert not [word for word in ("hunter2", "k3y", "me:") if word in told]
    assert shown(secret) == origin.url + "?api_key=***&v=***"


def test_a_contact_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(RarError, match="RAR_CONTACT"):
        user_agent("me\r\nX-Evil: 1")
