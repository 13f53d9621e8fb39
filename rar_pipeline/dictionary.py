"""The data dictionary: all boundary tables as Markdown, made from their definitions so that it cannot go stale."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from rar_pipeline.database import view_columns
from rar_pipeline.places import place
from rar_pipeline.tables import Table

COMMAND = "python -m rar_pipeline.tables > docs/data-dictionary.md"
_HEAD = f"""# Data dictionary

Every table that stages hand to each other, from `rar_pipeline/tables.py`. Made by `{COMMAND}`; do not edit it by hand.

Files lie below the folder of one world of sources, for example `lake/sample/`; a word in angle brackets stands for each of its kind. In
`rar.duckdb` each table is a view of its name ([browse.md](browse.md)). Texts are UTF-8, lists may be empty, and a value that is not known is
null.
"""


def dictionary(tables: Iterable[Table]) -> str:
    """Markdown of all tables: stage, meaning, asset, file, key, and each column with its type and meaning."""
    listed = list(tables)
    stages = list(dict.fromkeys(table.stage for table in listed))
    index = "\n".join(f"- {stage}: {', '.join(_link(table) for table in listed if table.stage == stage)}" for stage in stages)
    return "\n".join([_HEAD, index, *(_section(table) for table in listed)])


def _link(table: Table) -> str:
    return f"[{table.name}](#{table.name})"


def _section(table: Table) -> str:
    where = place(table)
    lines = [
        "",
        f"## {table.name}",
        "",
        table.description,
        "",
        f"- stage: {table.stage}",
        f"- made by the asset `{where.asset}`",
        f"- file: `{where.file}`",
        f"- key: {', '.join(f'`{name}`' for name in table.key)}",
    ]
    extra = place(table).path_columns(table)
    if extra:
        lines.append(f"- only in the view: {', '.join(f'`{column.name}`' for column in extra)}")
    lines += ["", "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {_type(column.dtype)} | {_cell(column.description)} |" for column in view_columns(table)]
    return "\n".join(lines)


def _type(dtype: object) -> str:
    if isinstance(dtype, pl.Array):
        return f"vector of {dtype.size} {_type(dtype.inner)}"
    if isinstance(dtype, pl.List):
        return f"list of {_type(dtype.inner)}"
    names: dict[object, str] = {
        pl.String(): "text",
        pl.Int64(): "integer",
        pl.Float64(): "number",
        pl.Float16(): "half-precision numbers",
        pl.Boolean(): "true or false",
    }
    return names.get(dtype, str(dtype))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
