"""What the lake keeps beside `movies` on how the corpus was made: provenance, conflicts, rows left out, verdicts of expectations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.tables import CONFLICTS, PROVENANCE, TABLES, Table

LEFT_OUT = {"step": pl.String(), "source": pl.String(), "reason": pl.String(), "rows": pl.Int64()}


@dataclass(frozen=True)
class CorpusRecords:
    """The records; whatever an older lake lacks is empty."""

    provenance: pl.DataFrame = field(default_factory=PROVENANCE.empty)
    conflicts: pl.DataFrame = field(default_factory=CONFLICTS.empty)
    left_out: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEFT_OUT))  # step: reading or merging
    verdicts: Sequence[
        Mapping[str, Any]
    ] = ()  # the files expectations.json, with `name` (folder) and `part`, in the order of TABLES


def read_records(lake: Path) -> CorpusRecords:
    """The records of a lake: `corpus/{provenance,conflicts}`, and the `expectations.json` beside each table.

    Raises RarError where a file is damaged.
    """
    verdicts = _verdicts(lake)
    return CorpusRecords(_table(lake, PROVENANCE), _table(lake, CONFLICTS), _left_out(verdicts), verdicts)


def _left_out(verdicts: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """What readers (by their part) and the merge (by the word before the colon) left out: step, source, reason, rows."""
    rows = []
    for verdict in verdicts:
        for what, count in (verdict.get("dropped") or {}).items():
            if verdict["name"] == "source_movies":
                rows.append(("reading", verdict["part"], what, count))
            elif verdict["name"] == "movies":
                source, _, reason = what.partition(": ")
                rows.append(("merging", source, reason.removeprefix("left out: "), count))
    return pl.DataFrame(rows, schema=LEFT_OUT, orient="row")


def _table(lake: Path, table: Table) -> pl.DataFrame:
    path = lake / table.stage / table.name / "data.parquet"
    return table.conform(pl.read_parquet(path, hive_partitioning=False)) if path.exists() else table.empty()


def _verdicts(lake: Path) -> list[dict[str, Any]]:
    order = {table.name: place for place, table in enumerate(TABLES)}
    found = []
    for path in [*lake.glob("*/*/expectations.json"), *lake.glob("*/*/dataset=*/expectations.json")]:
        part = path.parent.name.removeprefix("dataset=") if path.parent.name.startswith("dataset=") else None
        name = (path.parent.parent if part else path.parent).name
        found.append(_json(path) | {"name": name, "part": part})
    return sorted(found, key=lambda verdict: (order.get(verdict["table"], len(order)), verdict["name"], verdict["part"] or ""))


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RarError(f"{path}: not a JSON object ({error}); materialise the asset that writes this folder again") from None
