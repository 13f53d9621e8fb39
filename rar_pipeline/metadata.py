"""What the UI shows of a table, a model and a picture: schema, rows, content hash, preview, figures.

Text of a data set is data: it reaches Markdown only through `escaped`. Numbers stay numbers, since the UI plots them over time.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from rar_pipeline.files import content_hash
from rar_pipeline.tables import Table

CELL = 60  # characters
PREVIEW_ROWS = 5
CURVE_ROWS = 200
RECORD_TEXT = 200  # characters of a text in a table of the UI

# characters that Markdown or HTML could read as markup; a pipe is an entity because tables split before they unescape
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"} | {mark: "\\" + mark for mark in "\\`*_[]~$"})


def table_metadata(
    table: Table,
    frame: pl.DataFrame,
    *,
    path: Path | None = None,
    dropped: Mapping[str, int] | None = None,
    figures: Mapping[str, float | int] | None = None,
    partitioned: bool = False,
    content: str = "",
    extra: Mapping[str, dg.MetadataValue] | None = None,
) -> dict[str, dg.MetadataValue]:
    """Metadata of one materialisation of `table`.

    `path`: file or folder that it was written to; its size is shown, else the size in memory. `dropped`: rows left out, by reason; given
    but empty says that nothing was dropped. `partitioned`: `frame` is one partition, so its rows are not the table's. `content`: the frame's
    content hash where it is known. `extra` wins over what is made here.
    """
    rows = "dagster/partition_row_count" if partitioned else "dagster/row_count"
    metadata: dict[str, dg.MetadataValue] = {
        rows: dg.MetadataValue.int(frame.height),
        "dagster/column_schema": dg.MetadataValue.table_schema(column_schema(table)),
        "preview": preview(frame),
        "content_hash": dg.MetadataValue.text(content or content_hash(frame)),
        "bytes": dg.MetadataValue.int(_size(path) if path else int(frame.estimated_size())),
    }
    if path:
        metadata["path"] = dg.MetadataValue.path(path)
    if dropped is not None:
        metadata |= dropped_metadata(dropped)
    return metadata | numbers(figures or {}) | dict(extra or {})


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their types and meaning; a key of one column is marked unique."""
    alone = table.key if len(table.key) == 1 else ()
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.dtype),
                column.description,
                dg.TableColumnConstraints(nullable=column.name not in table.key, unique=column.name in alone),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints([f"unique: {', '.join(table.key)}"]),
    )


def preview(frame: pl.DataFrame, limit: int = PREVIEW_ROWS) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table, cells cut, and how large the whole is."""
    shown = [{name: plain_text(value) for name, value in row.items()} for row in frame.head(limit).iter_rows(named=True)]
    size = f"{frame.height:,} rows, {frame.width} columns"
    line = f"First {len(shown)} of {size}." if len(shown) < frame.height else f"All of {size}."
    return dg.MetadataValue.md(f"{markdown_table(shown, list(frame.columns))}\n\n{line}")


def markdown_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """Rows as a GitHub-flavoured Markdown table, every cell escaped and cut to 60 characters; "" where there is neither row nor column."""
    names = list(columns or (rows[0] if rows else ()))
    if not names:
        return ""
    cells = [
        [escaped(name) for name in names],
        ["---"] * len(names),
        *([escaped(row.get(name)) for name in names] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def plain_text(value: object, limit: int = CELL) -> str:
    """A value as one line of printable text of at most `limit` characters; null is empty."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):  # a few elements fill a cell, an embedding has hundreds
        return _cut(", ".join(plain_text(part, limit) for part in value[:limit]), limit, f" ({len(value)})")
    text = str(value)[: 20 * limit]
    return _cut(" ".join("".join(mark if mark.isprintable() else " " for mark in text).split()), limit)


def _cut(text: str, limit: int, tail: str = "") -> str:
    return text if len(text) <= limit else text[: limit - 1 - len(tail)].rstrip() + "…" + tail


def escaped(value: object, limit: int = CELL) -> str:
    """A value as text that Markdown and HTML show and do not read; cut to `limit` characters before it is escaped."""
    return plain_text(value, limit).translate(_MARKUP)


def dropped_metadata(dropped: Mapping[str, int]) -> dict[str, dg.MetadataValue]:
    """Rows left out: `dropped` in all, `dropped/<reason>` each, and a table of reasons, most frequent first."""
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    metadata: dict[str, dg.MetadataValue] = {"dropped": dg.MetadataValue.int(sum(dropped.values()))}
    metadata |= {f"dropped/{plain_text(reason)}": dg.MetadataValue.int(int(count)) for reason, count in ordered}
    if ordered:
        metadata["dropped_by_reason"] = table_value(
            [{"reason": plain_text(reason), "rows": int(count)} for reason, count in ordered]
        )
    return metadata


def numbers(figures: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    """Figures as numbers that the UI plots, numpy's scalars too; what is not finite or no number becomes text."""
    return {name: _number(value) for name, value in figures.items()}


def _number(value: object) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, Integral):
        return dg.MetadataValue.int(int(value))
    if isinstance(value, Real) and math.isfinite(value):
        return dg.MetadataValue.float(float(value))
    return dg.MetadataValue.text(plain_text(value) or "none")  # NaN would break the UI's JSON


def table_value(records: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Records as a table of the UI; columns in order of first appearance, a column's type from its first value.

    Raises ValueError where there is no column, as the UI has no empty table.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        raise ValueError("a table needs at least one record with a column")
    rows = [{name: _scalar(record.get(name)) for name in names} for record in records]
    firsts = {name: next((row[name] for row in rows if row[name] is not None), "") for name in names}
    schema = dg.TableSchema([dg.TableColumn(name, type(firsts[name]).__name__.replace("str", "string")) for name in names])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)


def _scalar(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return plain_text(value, RECORD_TEXT)


def markdown_image(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG inside the metadata itself; it is kept in the event log, so tens of kilobytes, not megabytes."""
    return dg.MetadataValue.md(f"![{escaped(alt)}](data:image/png;base64,{base64.b64encode(png).decode()})")


def retriever_metadata(
    version: Mapping[str, Any],
    *,
    path: Path | None = None,
    plot: bytes | None = None,
    extra: Mapping[str, dg.MetadataValue] | None = None,
) -> dict[str, dg.MetadataValue]:
    """Metadata of one version of the retriever.

    `version` describes it: `config` (its identity, shown whole as JSON), `metrics` (name to number, shown as `metric/<name>` so that the
    UI plots every version), `curve` (a record an epoch or step, shown as a table of at most 200 evenly spaced records); its other
    entries are shown as numbers or text. `path`: where its weights lie. `plot`: the curve as a PNG.
    """
    parts = dict(version)
    config, metrics, curve = (parts.pop(name, None) for name in ("config", "metrics", "curve"))
    metadata = numbers(parts) | numbers({f"metric/{name}": value for name, value in (metrics or {}).items()})
    if config:
        metadata["config"] = dg.MetadataValue.json({name: _jsonable(value) for name, value in config.items()})
    if curve:
        metadata["curve_points"] = dg.MetadataValue.int(len(curve))
        metadata["curve"] = table_value(_thinned(curve, CURVE_ROWS))
    if plot:
        metadata["curve_plot"] = markdown_image(plot, "training curve")
    if path:
        metadata |= {"path": dg.MetadataValue.path(path), "bytes": dg.MetadataValue.int(_size(path))}
    return metadata | dict(extra or {})


def _thinned(curve: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    if len(curve) <= most:
        return list(curve)
    return [curve[round(place * (len(curve) - 1) / (most - 1))] for place in range(most)]


def _jsonable(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(part) for name, part in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Iterable):
        return [_jsonable(part) for part in value]
    return value if isinstance(value, bool) else _scalar(value)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
