"""Raw text files as publishers ship them, plain or gzipped, with errors that name the file and the line.

Also the one way in which files are written: under a temporary name, then moved into place.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import os
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from rar_pipeline.errors import RarError


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 text file, gzipped or not, without their line ends.

    Raises RarError where the file is missing, cut off or not UTF-8.
    """
    number = 0
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007  (the errors below name it)
                yield line.rstrip("\r\n")
    except FileNotFoundError:
        raise RarError(f"{path}: no such file; check RAR_SOURCES") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RarError(f"{path}: damaged after line {number} ({error}); fetch the file again") from None
    except UnicodeDecodeError as error:
        raise RarError(f"{path}: not UTF-8 after line {number} ({error.reason}); fetch the file again") from None


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every non-empty line of a JSONL file; (number, None) where a line is no JSON."""
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError:
            yield number, None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(*parts: object) -> str:
    """Short content hash (16 hexadecimal digits) of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_hash(frame: pl.DataFrame) -> str:
    """SHA-256 (hexadecimal) of column names, types and values in their order: equal content, equal hash, on any machine."""
    content = hashlib.sha256(repr(list(frame.schema.items())).encode())
    vectors = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Array) and not frame[name].has_nulls()]
    for part in frame.drop(vectors).iter_slices(20_000):
        # a column without values says so once: IMDb lists nine million titles of which only the id counts
        empty = [name for name in part.columns if part[name].null_count() == part.height]
        content.update(repr((part.height, empty)).encode())
        content.update(part.drop(empty).write_ndjson().encode())
    for name in vectors:  # as text they would take minutes
        for vector in frame.select(name).iter_slices(20_000):
            content.update(vector[name].to_numpy().tobytes())
    return content.hexdigest()


_UNWRITABLE = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota is used up; make room",
    errno.EROFS: "the file system is read-only; make it writable or name another RAR_LAKE",
    errno.EACCES: "access is denied; give this user the right to it or name another RAR_LAKE",
}


def unwritable(error: BaseException, path: Path) -> RarError | None:
    """What to tell of an error that comes of the disk, and not of us; None for any other. Libraries hand the system's words on, not its number."""
    one: BaseException | None = error
    while one is not None:
        for number, said in _UNWRITABLE.items():
            if (
                getattr(one, "errno", None) == number
                or (number != errno.EACCES and os.strerror(number) in str(one))
                or (number == errno.ENOSPC and isinstance(one, OSError) and " requested and " in str(one))  # numpy's words
                or (
                    number == errno.ENOSPC and "Invalid thrift: transport error" in str(one)
                )  # polars': a table's end found no room
            ):
                named = getattr(one, "filename", None)  # not where a library wrote to a temporary folder first
                place = named if isinstance(named, str) and Path(named).is_relative_to(path) else path
                return RarError(f"{place}: {said}, then run again: what was made is kept")
        one = one.__cause__ or one.__context__
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises RarError that names `path` where the disk does not take what the block writes."""
    try:
        yield
    except RarError:
        raise
    except Exception as error:
        if told := unwritable(error, path):
            raise told from None
        raise


@contextmanager
def alone(place: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """For one process of this machine at a time: another one calls `waiting` and waits. The kernel lets go of a process that dies."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def maker() -> str:
    """The process among those of all machines that share a lake, as a part of the names of what it has not finished."""
    return f"{platform.node()}.{os.getpid()}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it takes its place at once, on failure nothing is left.

    Raises RarError where the disk is full or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{maker()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            if temporary.exists():
                temporary.unlink()


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
