"""Asking an API for many records, so that a run may be killed at any time and the next one asks only for what is missing.

Every answer is kept by hishel, an HTTP cache (RFC 9111), in `<raw>/answers/<publisher>.sqlite`: for the days that the settings say it
is not asked for again, then only on the condition that it changed. Keys are added below the cache and never reach it, a log line
or an error. How fast and how patiently a server is asked is politeness.py.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from hishel import CacheOptions, SqliteStorage
from hishel.httpx import CacheTransport

from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines, replacing
from rar_pipeline.politeness import LaterError, Log, Manners, persistently, polite_client, refuse, shown, transient

ANSWERS = frozenset({200, 404, 410})  # "there is no such record" is an answer, too, and is kept as long
FAILURES_IN_A_ROW = 10  # a server that failed so often, each time after all attempts, is left alone for this run
PROGRESS_EVERY = 10.0  # seconds between lines of progress
_REDIRECTS = frozenset({301, 302, 307, 308})
_DAY = 86_400  # seconds
_YEAR = 365.0 * _DAY

K = TypeVar("K", str, int)
T = TypeVar("T")
Record = dict[str, Any]


class EnoughError(Exception):
    """The publisher answers no more questions today; what came is kept."""


class KeyRefusedError(RarError):
    """The publisher does not take the key: no record can come."""


@dataclass(frozen=True)
class Upstream:
    """How publishers' own addresses are approached."""

    hosts: Mapping[str, str] = field(default_factory=dict)  # a publisher's host and the address that stands in for it
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # by name of the environment variable
    limit: int = 1000  # records newly asked of one API in a run
    days: float = 30.0  # for which an answer is not asked for again

    def at(self, address: str) -> str:
        """The address, or the same path at whatever stands in for its host."""
        host, slash, path = address.partition("://")[2].partition("/")
        return f"{self.hosts[host].rstrip('/')}{slash}{path}" if host in self.hosts else address


@dataclass(frozen=True)
class Credentials:
    """What tells an API who asks; never shown."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)


class _Network(httpx.BaseTransport):
    """What lies below the cache: adds the key, and tells the cache how long an answer is to be kept."""

    def __init__(self, manners: Manners, credentials: Credentials, seconds: int) -> None:
        self.asked = 0  # requests that left this machine
        self._client = polite_client(manners, robots=False)
        self._credentials, self._seconds = credentials, seconds
        self.login: tuple[bytes, bytes] = b"", b""  # a host, and the user and password that its address holds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        url = request.url.copy_merge_params(self._credentials.params) if self._credentials.params else request.url
        if url.netloc == self.login[0]:
            url = url.copy_with(userinfo=self.login[1])
        headers = httpx.Headers([*request.headers.raw])
        headers.update(self._credentials.headers)
        response = self._client.send(
            httpx.Request(request.method, url, headers=headers, extensions=request.extensions), stream=True
        )
        self._label(response, re.split(r"[/+]", request.headers["Accept"])[-1])
        return response

    def _label(self, response: httpx.Response, kind: str) -> None:
        """Kept for at least the days that the user set, which RFC 9111, 4.2.4 leaves to an agreement with whoever uses the cache."""
        said = response.headers.get("Cache-Control", "")
        odd = response.status_code == 200 and kind not in response.headers.get("Content-Type", "")
        # a server may redirect to an address with the key in it
        kept = ANSWERS | {304} | (_REDIRECTS if self._credentials == Credentials() else frozenset())
        if response.status_code not in kept or odd or "no-store" in said:
            response.headers["Cache-Control"] = "no-store"
            return
        for name in ("Expires", "Pragma", "Age", "Set-Cookie"):
            response.headers.pop(name, None)
        response.headers["Date"] = formatdate(usegmt=True)
        response.headers["Cache-Control"] = f"max-age={self._seconds}"

    def close(self) -> None:
        self._client.close()


class Api:
    """One publisher's API behind the cache of its answers; a context manager."""

    def __init__(
        self,
        name: str,
        raw: Path,
        manners: Manners,
        upstream: Upstream,
        log: Log,
        *,
        credentials: Credentials | None = None,
    ) -> None:
        self.name, self.limit, self.log, self._manners = name, upstream.limit, log, manners
        self._network = _Network(manners, credentials or Credentials(), max(1, round(upstream.days * _DAY)))
        # a year bounds the file: a version of an answer that was replaced is not looked at again, but lies there until then
        storage = SqliteStorage(database_path=raw / "answers" / f"{name}.sqlite", default_ttl=_YEAR, max_size=None)
        # whoever redirects could send a key to another host
        self._client = httpx.Client(
            transport=CacheTransport(self._network, storage, rfc=CacheOptions(shared=False)),
            headers={"User-Agent": manners.agent},
            timeout=manners.timeout,
            follow_redirects=credentials is None,
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def asked(self) -> int:
        """Requests that went to the server so far."""
        return self._network.asked

    def get(
        self, url: str, params: Mapping[str, str] | None = None, *, accept: str = "application/json", also: Set[int] = frozenset()
    ) -> httpx.Response:
        """An answer, from the cache where it is still good: status 200, 404, 410 or one of `also`. Raises RarError for any other."""
        return persistently(partial(self._attempt, url, params, accept, ANSWERS | also), url, self._manners, self.log)

    def _attempt(self, url: str, params: Mapping[str, str] | None, accept: str, accepted: Set[int]) -> httpx.Response:
        address = httpx.URL(url)
        self._network.login = address.netloc, address.userinfo
        try:
            response = self._client.get(address.copy_with(userinfo=b""), params=params, headers={"Accept": accept})
        except httpx.UnsupportedProtocol:
            raise
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transient(error) from None
        refuse(url, response, accepted)
        return response


def record_of(response: httpx.Response) -> Record:
    """The JSON object that an answer holds. Raises RarError where it holds none."""
    try:
        record = response.json()
    except ValueError as error:
        raise RarError(f"{shown(str(response.url))}: no JSON ({error}); ask again later") from None
    if not isinstance(record, dict):
        raise RarError(f"{shown(str(response.url))}: expected a JSON object, got {type(record).__name__}")
    return record


def answers(keys: Sequence[K], ask: Callable[[K], T], api: Api, *, bare: bool) -> Iterator[tuple[K, T]]:
    """(key, answer) for as many keys, in order, as this run may ask for; what the cache still has costs nothing of the limit.

    A key whose question fails is counted and left for the next run. Ends early where the publisher wants no more or keeps failing.
    Raises KeyRefusedError, and where the caller has nothing of earlier runs (`bare`) RarError if not one question was answered.
    """
    begun = spoken = time.monotonic()
    new = answered = failures = in_a_row = 0
    first, why = "", ""
    for done, key in enumerate(keys):
        if new >= api.limit:
            why = f"RAR_HARVEST_LIMIT={api.limit}"
            break
        before = api.asked
        try:
            answer = ask(key)
        except KeyRefusedError:
            raise
        except (EnoughError, LaterError) as error:
            why = str(error)
            break
        except RarError as error:
            failures, in_a_row, first = failures + 1, in_a_row + 1, first or f"{key}: {error}"
            new += 1
            if in_a_row == FAILURES_IN_A_ROW:
                why = f"{in_a_row} failures in a row, the last: {error}"
                break
            continue
        answered, in_a_row, new = answered + 1, 0, new + (api.asked > before)
        yield key, answer
        if time.monotonic() - spoken >= PROGRESS_EVERY:
            spoken = time.monotonic()
            rate, left = new / (spoken - begun), min(api.limit - new, len(keys) - done - 1)
            seconds = f"{left / rate:,.0f} s left" if rate else "all known so far"
            api.log(
                f"{api.name}: {done + 1:,} of {len(keys):,} done, {new:,} newly asked, {rate:.1f}/s, {left:,} to go, {seconds}"
            )
    left = len(keys) - answered - failures
    api.log(
        f"{api.name}: {answered:,} answers, {new - failures:,} of them new, {failures:,} failed"
        + (f" (first: {first})" if first else "")
        + (f"; {left:,} left for the next run: {why}" if left else "")
    )
    if bare and failures and not answered:
        raise RarError(f"{api.name}: none of {failures:,} questions was answered ({first}); run again later or name a mirror")


def harvest_records(target: Path, keys: Sequence[str], ask: Callable[[str], Record | None], api: Api, id_of: str) -> None:
    """Put records together in `target`, one JSON object a line by id: those there are kept, new keys come first, then old ones again.

    `id_of` names the field that holds a record's key. None for an answer means that there is no such record (any more).
    """
    lines: dict[str, str] = {}
    if target.is_file():
        lines = {str(record[id_of]): _line(record) for _, record in json_lines(target) if record}
    missing = [key for key in keys if key not in lines]
    for key, record in answers([*missing, *(key for key in keys if key in lines)], ask, api, bare=not lines):
        if record is None:
            lines.pop(key, None)
        else:
            lines[key] = _line(record)
    if lines:
        write_lines(target, (lines[key] for key in sorted(lines)))


def write_lines(target: Path, lines: Iterator[str]) -> None:
    """Write lines to `target`, whole or not at all."""
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as sink:
        sink.writelines(f"{line}\n" for line in lines)


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False)
