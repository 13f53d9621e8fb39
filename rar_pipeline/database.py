"""`rar.duckdb`: a catalogue of views over the lake's parquet files, with a comment on every view and column.

It holds no data of its own, so that readers of the lake never wait for its lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from rar_pipeline.files import replacing
from rar_pipeline.tables import Table


def publish_database(lake: Path, tables: Iterable[Table]) -> list[str]:
    """Write `<lake>/rar.duckdb` with a view for every table that the lake holds; gives the views' names.

    Paths are absolute: move the lake, materialise the asset again.
    """
    views = []
    with replacing(lake / "rar.duckdb") as temporary:
        con = duckdb.connect(str(temporary))
        try:
            for table in tables:
                folder = (lake / table.stage / table.name).resolve()
                pattern = next((found for found in ("data.parquet", "*/data.parquet") if any(folder.glob(found))), None)
                if pattern is None:
                    continue
                columns = ", ".join(f'"{column.name}"' for column in table.columns)
                con.execute(
                    f"CREATE VIEW {table.name} AS SELECT {columns} FROM read_parquet({quoted(str(folder / pattern))}, hive_partitioning = false)"
                )
                con.execute(f"COMMENT ON VIEW {table.name} IS {quoted(table.description)}")
                for column in table.columns:
                    con.execute(f'COMMENT ON COLUMN {table.name}."{column.name}" IS {quoted(column.description)}')
                views.append(table.name)
        finally:
            con.close()
    return views


def quoted(text: str) -> str:
    """A string as a SQL literal: DuckDB binds no parameters in definitions."""
    return "'" + text.replace("'", "''") + "'"
