"""What every asset shell shares: how a table is published and how a user's error is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import dagster as dg
import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.metadata import table_metadata
from rar_pipeline.quality import check_result, check_spec, validate
from rar_pipeline.resources import Lake
from rar_pipeline.tables import DATASETS, Table

DATASET = dg.StaticPartitionsDefinition(list(DATASETS))

P = ParamSpec("P")
T = TypeVar("T")


def told(body: Callable[P, T]) -> Callable[P, T]:
    """Run an asset's body; a RarError ends the step as a failure with that one line, without retries."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return body(*args, **kwargs)
        except RarError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return run


def checks(key: str | list[str], table: Table) -> list[dg.AssetCheckSpec]:
    """The blocking check of a boundary table."""
    return [check_spec(dg.AssetKey(key), table)]


def publish(
    lake: Lake,
    table: Table,
    frame: pl.DataFrame,
    *,
    part: str | None = None,
    name: str | None = None,
    dropped: Mapping[str, int] | None = None,
    figures: Mapping[str, float | int] | None = None,
    extra: Mapping[str, dg.MetadataValue] | None = None,
    checked: bool = True,
) -> dg.MaterializeResult[Any]:
    """Check a table, write it, and describe it. A table that breaks an expectation is written for inspection, and blocks what lies downstream."""
    path = lake.write(table, frame, part, name)
    return dg.MaterializeResult(
        metadata=table_metadata(
            table, frame, path=path, dropped=dropped, figures=figures, partitioned=part is not None, extra=extra
        ),
        check_results=[check_result(validate(table, frame))] if checked else [],
    )
