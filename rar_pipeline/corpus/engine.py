"""The in-memory DuckDB that the corpus is read and merged in: bounded in memory and threads, it spills to disk when it needs more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import duckdb

MEMORY = "2GB"  # as much again and more is held by frames, and by what DuckDB does not count
THREADS = 8  # each holds buffers of its own


@contextmanager
def engine(memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a fresh database; it and what it spilled are gone after the block.

    `memory` is what DuckDB may hold before it spills, in its notation ("3GB"). Rows come in no order: sort what must have one.
    """
    with TemporaryDirectory(prefix="rar-") as scratch:
        con = duckdb.connect(
            config={
                "temp_directory": scratch,
                "memory_limit": memory,
                "threads": min(THREADS, os.cpu_count() or 1),
                "preserve_insertion_order": "false",
            }
        )
        try:
            yield con
        finally:
            con.close()
