"""Raw files: what each publisher's file must look like, and reading them with DuckDB so that bad ones are told by name.

The readers of the sources (sources.py) decide what the rows mean; here is only how to get at them.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import duckdb

from rar_pipeline.corpus.engine import MEMORY, engine
from rar_pipeline.errors import RarError
from rar_pipeline.sql import statement

_DAMAGED = "re-fetch it, or remove it if the source is optional"


@dataclass(frozen=True)
class RawFile:
    """A file of a publisher's layout: its name without .gz, its format, and the columns that the reader needs or takes where present."""

    name: str
    delimiter: str  # tab or comma; "json" for one array, "jsonl" for one record a line
    needed: tuple[str, ...]
    types: tuple[tuple[str, str], ...] = ()  # DuckDB types of JSON fields; those that are not needed may be absent

    @property
    def is_json(self) -> bool:
        """Whether records are JSON objects."""
        return self.delimiter.startswith("json")


@contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    else:
        with path.open(encoding="utf-8", newline="") as file:
            yield file


def _first_record(file: IO[str], raw: RawFile) -> list[str]:
    if raw.delimiter == "\t":
        return file.readline().rstrip("\r\n").split("\t")
    if raw.delimiter == ",":
        return next(csv.reader(file), [])
    if raw.delimiter == "jsonl":
        record = json.loads(file.readline() or "{}")
    else:
        start = file.read(1 << 20).lstrip().removeprefix("[").lstrip()
        record = json.JSONDecoder().raw_decode(start)[0] if start and not start.startswith("]") else dict.fromkeys(raw.needed)
    return list(record) if isinstance(record, dict) else []


def columns_of(path: Path, raw: RawFile) -> list[str]:
    """Columns that the file really has, in order.

    Raises RarError where the file is missing, is no text or gzip, or lacks a column that the reader needs.
    """
    try:
        with _text(path) as file:
            found = _first_record(file, raw)
    except FileNotFoundError:
        raise RarError(f"{path}: no such file; expected {raw.name}") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, ValueError, csv.Error) as error:
        raise RarError(f"{path}: expected {raw.name}, cannot be read ({error}); {_DAMAGED}") from None
    missing = [name for name in raw.needed if name not in found]
    if missing:
        raise RarError(
            f"{path}: expected {raw.name} with column {missing[0]!r}, found {', '.join(found[:12]) or 'none'}; {_DAMAGED}"
        )
    return found


class RawReader:
    """Runs the statements of sql/corpus over raw files in an in-memory DuckDB, and counts the rows that DuckDB cannot read."""

    def __init__(self, con: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self.con = con
        self.dropped: dict[str, int] = {}
        self._scratch = scratch

    def read(self, table: str, raw: RawFile, paths: Sequence[Path], **values: object) -> int:
        """Make table `table` by sql/corpus/<table>.sql over `paths` (several only for JSON); no paths make an empty table.

        Returns the number of rows. Raises RarError where a file is cut short, malformed, or has another schema.
        """
        if not paths:
            paths = [self._empty(raw)]
        if raw.is_json:
            columns = dict(raw.types)
            for path in paths:
                columns_of(path, raw)
        else:
            columns = dict.fromkeys(columns_of(paths[0], raw), "VARCHAR")
        parameters = {"paths": [str(path) for path in paths], "columns": columns, **values}
        try:
            self.con.execute(statement("corpus", table), parameters)
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise RarError(f"{paths[0] if len(paths) == 1 else raw.name}: {reason}; expected {raw.name}; {_DAMAGED}") from None
        self._count_rejects(raw)
        return int(self.con.sql(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])

    def make(self, table: str, **values: object) -> None:
        """Make table `table` from tables made before."""
        self.con.execute(statement("corpus", table), values)

    def drop(self, *tables: str) -> None:
        """Drop tables that nothing is made from any more."""
        for table in tables:
            self.con.execute(f'DROP TABLE "{table}"')

    def _count_rejects(self, raw: RawFile) -> None:
        if raw.is_json:
            return
        rejects = self.con.sql("SELECT count(DISTINCT (file_id, line)) FROM reject_errors").fetchall()[0][0]
        if rejects:
            self.dropped[f"malformed rows of {raw.name}"] = int(rejects)
        self.con.execute("DROP TABLE reject_errors")
        self.con.execute("DROP TABLE reject_scans")

    def _empty(self, raw: RawFile) -> Path:
        path = self._scratch / raw.name.replace("/", "-")
        if raw.is_json:
            path.write_text("[]" if raw.delimiter == "json" else json.dumps(dict.fromkeys(raw.needed)) + "\n", encoding="utf-8")
        else:
            path.write_text(raw.delimiter.join(raw.needed) + "\n", encoding="utf-8")
        return path


@contextmanager
def raw_reader(memory: str = MEMORY) -> Iterator[RawReader]:
    """A reader with a fresh DuckDB; `memory` is what that may hold before it spills to disk ("3GB")."""
    with engine(memory) as con, TemporaryDirectory(prefix="rar-") as scratch:
        # DuckDB takes a packed file for a small one, and would hold all credits to look up a few titles in them: joins keep the right side
        con.execute("SET disabled_optimizers = 'build_side_probe_side'")
        yield RawReader(con, Path(scratch))


def located(files: Mapping[str, Path], raw: RawFile) -> list[Path]:
    """The path of a raw file where the caller has it, as a list of one or none."""
    return [files[raw.name]] if raw.name in files else []
