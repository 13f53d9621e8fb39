"""`rar.duckdb`: a catalogue of views over the lake's parquet files, with a comment on every view and column.

It holds no data of its own, so that readers of the lake never wait for its lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import polars as pl

from rar_pipeline.files import replacing
from rar_pipeline.places import place
from rar_pipeline.tables import Column, Table


def publish_database(lake: Path, tables: Iterable[Table]) -> list[str]:
    """Write `<lake>/rar.duckdb` with a view for every table that the lake holds; gives the views' names.

    A table kept by preference round is one view over all rounds, with what only the path tells as further columns: round, dataset. Paths are
    absolute: move the lake, materialise the asset again.
    """
    views = []
    with replacing(lake / "rar.duckdb") as temporary:
        con = duckdb.connect(str(temporary))
        try:
            for table in tables:
                if any(lake.glob(place(table).pattern)):
                    _create_view(con, lake.resolve(), table)
                    views.append(table.name)
        finally:
            con.close()
    return views


def view_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a table's view, in order: those that the path tells first."""
    return (*place(table).path_columns(table), *table.columns)


def _create_view(con: duckdb.DuckDBPyConnection, lake: Path, table: Table) -> None:
    told = [
        f"regexp_extract(filename, {quoted(regex)}, 1)::{'BIGINT' if column.dtype == pl.Int64 else 'VARCHAR'} AS {column.name}"
        for column, regex in place(table).path_columns(table).items()
    ]
    columns = ", ".join([*told, *(f'"{column.name}"' for column in table.columns)])
    files = quoted(str(lake / place(table).pattern))
    con.execute(
        f"CREATE VIEW {table.name} AS SELECT {columns} FROM read_parquet({files}, hive_partitioning = false, filename = true)"
    )
    con.execute(f"COMMENT ON VIEW {table.name} IS {quoted(table.description)}")
    for column in view_columns(table):
        con.execute(f'COMMENT ON COLUMN {table.name}."{column.name}" IS {quoted(column.description)}')


def quoted(text: str) -> str:
    """A string as a SQL literal: DuckDB binds no parameters in definitions."""
    return "'" + text.replace("'", "''") + "'"
