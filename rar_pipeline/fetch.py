"""Fetching one file over HTTP so that it can be trusted: resumed, conditional, retried, checked, and only then put into place.

Beside a target `name` lie `.name.fetched.json` (what the server said of the complete file, for the next conditional request)
and, while a fetch is under way or after it broke, `.name.part` with `.name.part.json`. Addresses may hold secrets: none of
these files, no log line and no error shows more of an address than `shown` leaves of it.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from rar_pipeline.errors import RarError
from rar_pipeline.files import digest, replacing, sha256_of, write_json
from rar_pipeline.politeness import (
    Manners,
    RefusedError,
    TransientError,
    persistently,
    polite_client,
    refuse,
    shown,
    transient,
)

PROGRESS_EVERY = 10.0  # seconds between lines of progress
_CHUNK = 1 << 20  # bytes
_BRING_BYTES = frozenset({200, 206, 416})


@dataclass(frozen=True)
class Fetched:
    """A complete file on this machine; `status` is 304 where it was there before and has not changed."""

    path: Path
    sha256: str
    bytes: int
    status: int


@dataclass(frozen=True)
class _Note:
    """What a server said of a file; `source` is a hash of the address, which may hold secrets."""

    source: str
    etag: str | None
    last_modified: str | None
    sha256: str = ""
    bytes: int = 0
    mtime_ns: int = 0

    @property
    def strong(self) -> str | None:
        """A validator that If-Range may carry: a weak ETag does not promise the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


def download(
    url: str,
    target: Path,
    *,
    manners: Manners,
    log: Callable[[str], None],
    sha256: str | None = None,
    objects: Path | None = None,
) -> Fetched:
    """Bring `url` to `target`, or find that `target` is still what the server has.

    A `.gz` or `.zip` is read through before it is believed. Below `objects` every version that was ever fetched is kept under its
    SHA-256, equal ones once. Raises RefusedError for a status that is not transient, RarError where nothing trustworthy came or
    robots.txt bars the address; `target` is then as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = _kept(target, url, sha256)
    with polite_client(manners, follow_redirects=True) as client:
        total = persistently(lambda: _attempt(client, url, target, kept, log), url, manners, log)
    if total is None and kept is not None:
        log(f"{target.name}: unchanged at {shown(url)}")
        return Fetched(target, kept.sha256, kept.bytes, 304)
    return _believed(url, target, sha256, objects, log)


def _attempt(client: httpx.Client, url: str, target: Path, kept: _Note | None, log: Callable[[str], None]) -> int | None:
    """One request; the part file is complete afterwards. Bytes of the part, or None where the kept file is unchanged."""
    part, begun = _beside(target, "part"), _read_note(_beside(target, "part.json"), url)
    have = part.stat().st_size if part.exists() and begun and begun.strong else 0
    headers = {"Accept-Encoding": "identity"}  # wanted byte for byte, so that lengths, hashes and resumed parts fit
    if kept and kept.etag:
        headers["If-None-Match"] = kept.etag
    elif kept and kept.last_modified:
        headers["If-Modified-Since"] = kept.last_modified
    if have and begun and begun.strong:
        headers |= {"Range": f"bytes={have}-", "If-Range": begun.strong}
    try:
        with client.stream("GET", url, headers=headers) as response:
            status = response.status_code
            if status == 304 and kept:
                return None
            _refuse(url, response)
            if status == 416 and have and response.headers.get("Content-Range") == f"bytes */{have}":
                return have  # the last run ended between the last byte and the checks
            if status == 416 or (status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
                part.unlink(missing_ok=True)
                raise TransientError(f"HTTP {status} for another range than the one asked for")
            start = have if status == 206 else 0
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            validators = response.headers.get("ETag"), response.headers.get("Last-Modified")
            write_json(_beside(target, "part.json"), asdict(_Note(digest(url), *validators)))
            log(
                f"{target.name}: fetching {_size(total)} from {shown(url)}" + (f", resumed after {_size(start)}" if start else "")
            )
            done = _store(response, part, start, total, target.name, log)
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects):
        raise
    except httpx.TransportError as error:
        raise transient(error) from None
    if total is not None and done != total:
        raise TransientError(f"{done} bytes came of {total}")
    return done


def _refuse(url: str, response: httpx.Response) -> None:
    """Raise for every answer that brings no file, as transient or for good."""
    refuse(url, response, _BRING_BYTES)
    status = response.status_code
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and not httpx.URL(url).path.endswith(".gz"):
        raise RefusedError(f"{shown(url)}: sent as {encoding} although plain bytes were asked for; name another mirror", status)


def _store(response: httpx.Response, part: Path, start: int, total: int | None, name: str, log: Callable[[str], None]) -> int:
    """Append the body to the part file from `start`; its size in bytes afterwards."""
    done, spoken = start, time.monotonic()
    with part.open("ab" if start else "wb") as sink:
        for chunk in response.iter_raw():
            sink.write(chunk)
            done += len(chunk)
            if time.monotonic() - spoken >= PROGRESS_EVERY:
                spoken = time.monotonic()
                log(f"{name}: {_size(done)} of {_size(total)}")
    return done


def _believed(url: str, target: Path, expected: str | None, objects: Path | None, log: Callable[[str], None]) -> Fetched:
    """Check the complete part file and move it into place; a part that fails is thrown away, since resuming cannot mend it."""
    part, note = _beside(target, "part"), _read_note(_beside(target, "part.json"), url)
    found = sha256_of(part)
    fault = f"SHA-256 is {found}, expected {expected}" if expected and found != expected else _damage(part, target.suffix)
    if fault:
        part.unlink()
        raise RarError(f"{shown(url)}: {fault}; what came was thrown away, fetch it again or name another mirror")
    if objects:
        _place(part, objects / found, target)
    else:
        part.replace(target)
    state = target.stat()
    validators = (note.etag, note.last_modified) if note else (None, None)
    write_json(_beside(target, "fetched.json"), asdict(_Note(digest(url), *validators, found, state.st_size, state.st_mtime_ns)))
    _beside(target, "part.json").unlink(missing_ok=True)
    log(f"{target.name}: {_size(state.st_size)} complete")
    return Fetched(target, found, state.st_size, 200)


def _place(part: Path, version: Path, target: Path) -> None:
    """Keep a file as `version` for good and put it into place; both names share the bytes where the file system can."""
    version.parent.mkdir(parents=True, exist_ok=True)
    part.replace(version)  # one of this name has the same bytes
    with replacing(target) as temporary:
        try:
            temporary.hardlink_to(version)
        except OSError:
            shutil.copyfile(version, temporary)


def _damage(path: Path, suffix: str) -> str:
    """What is wrong with an archive, or an empty string."""
    try:
        if suffix == ".gz":
            with gzip.open(path) as stream:
                while stream.read(_CHUNK):
                    pass
        elif suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
            return f"damaged zip (member {bad!r})" if bad else ""
    except (EOFError, zlib.error, OSError, zipfile.BadZipFile) as error:
        return f"damaged {suffix[1:]} ({error})"
    return ""


def _kept(target: Path, url: str, expected: str | None) -> _Note | None:
    """The note of a complete file that came from `url` and has not been touched since."""
    note = _read_note(_beside(target, "fetched.json"), url)
    if note is None or not target.is_file() or (expected and note.sha256 != expected):
        return None
    state = target.stat()
    untouched = (state.st_size, state.st_mtime_ns) == (note.bytes, note.mtime_ns)
    return note if untouched or sha256_of(target) == note.sha256 else None


def _read_note(path: Path, url: str) -> _Note | None:
    try:
        note = _Note(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if note.source == digest(url) else None


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _size(count: int | None) -> str:
    return "an unknown size" if count is None else f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
