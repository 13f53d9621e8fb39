"""Writing of raw files: packed like the publishers' downloads, the same bytes for the same content."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

NULL = "\\N"
"""IMDb's mark for a value that is not known."""


def write_text(path: Path, text: str) -> None:
    """`text` as `path` + .gz, UTF-8, without a time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Tab-separated without quoting, as IMDb and INSPIRED do."""
    lines = ["\t".join(header), *("\t".join(str(value) for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], line_end: str = "\n") -> None:
    """Comma-separated, quoted where needed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator=line_end)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_jsonl(path: Path, records: Iterable[object]) -> None:
    """One JSON value a line."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
