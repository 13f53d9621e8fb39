"""What every asset shell shares: how a table is published, or kept where nothing changed that it is made of, and how a user's error is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import dagster as dg
import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.expectations import SUITES
from rar_pipeline.files import alone, digest, sha256_of, write_json, writing
from rar_pipeline.metadata import table_metadata
from rar_pipeline.quality import Outcome, Verdict, check_result, check_spec, validate
from rar_pipeline.resources import Lake
from rar_pipeline.settings import PROJECT
from rar_pipeline.tables import DATASETS, Table

DATASET = dg.StaticPartitionsDefinition(list(DATASETS))

P = ParamSpec("P")
T = TypeVar("T")

RECORD = "expectations.json"  # beside a table: what was expected of it, what came, and figures of its making

Metadata = Mapping[str, dg.MetadataValue]


def told(body: Callable[P, T]) -> Callable[P, T]:
    """Run an asset's body, one run at a time for an asset and data set: a second one waits, and then finds made what the first has made.

    A RarError, and a disk that is full or cannot be written, end the step as a failure with one line, without retries.
    """

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        lake, context = kwargs.get("lake"), args[0] if args else None
        try:
            with writing(Path(lake.root if isinstance(lake, Lake) else "RAR_LAKE")):
                if not isinstance(lake, Lake) or not isinstance(context, dg.AssetExecutionContext):
                    return body(*args, **kwargs)
                words = [*context.asset_key.path, *([context.partition_key] if context.has_partition_key else [])]
                name = "__".join(words)
                with alone(lake.path / ".locks" / name, lambda: context.log.info(f"{name}: another run makes it; waiting")):
                    return body(*args, **kwargs)
        except RarError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return run


def checks(key: str | list[str], table: Table) -> list[dg.AssetCheckSpec]:
    """The blocking check of a boundary table."""
    return [check_spec(dg.AssetKey(key), table)]


class Beside(NamedTuple):
    """A table that is written with another one, because both come out of one computation."""

    table: Table
    frame: pl.DataFrame
    name: str | None = None  # where it is kept under another name than the table's


@dataclass(frozen=True)
class Made:
    """What a stage made: the table's rows, what it left out by reason, figures for the UI, and tables that go with it."""

    frame: pl.DataFrame
    dropped: Mapping[str, int] | None = None
    figures: Mapping[str, float | int] = field(default_factory=dict)
    beside: Sequence[Beside] = ()


@cache
def code_of(stage: str) -> str:
    """Hash of a stage's code and SQL and of the tables' schemas: a table is made again when its maker has changed."""
    package = PROJECT / "rar_pipeline"
    files = [*sorted((package / stage).rglob("*.py")), *sorted((PROJECT / "sql" / stage).glob("*.sql"))]
    files += [package / name for name in ("tables.py", "expectations.py", "rules.py")]
    return digest([(file.relative_to(PROJECT).as_posix(), sha256_of(file)) for file in files])


def publish(
    lake: Lake,
    table: Table,
    frame: pl.DataFrame,
    *,
    part: str | None = None,
    name: str | None = None,
    dropped: Mapping[str, int] | None = None,
    figures: Mapping[str, float | int] | None = None,
    extra: Metadata | None = None,
    checked: bool = True,
) -> dg.MaterializeResult[Any]:
    """Check a table, write it, and describe it. A table that breaks an expectation is written for inspection, and blocks what lies downstream."""
    place, made = _Place(table, part, name), Made(frame, dropped, figures or {})
    return _described(lake, place, made, _write(lake, place, made, "", checked), extra or {}, checked, made_now=True)


def publish_if_changed(
    context: dg.AssetExecutionContext,
    lake: Lake,
    table: Table,
    inputs: Sequence[object],
    make: Callable[[], Made],
    *,
    part: str | None = None,
    beside: Sequence[tuple[Table, str | None]] = (),
    extra: Callable[[pl.DataFrame], Metadata] = lambda frame: {},
    checked: bool = True,
) -> dg.MaterializeResult[Any]:
    """`publish` what `make` gives, unless the lake's table was made of the very same `inputs` and kept its expectations: then it is described again.

    `inputs` are hashes of all that the table depends on: contents, settings, code. `beside` names the tables that `make` gives along with
    it (table, name). A run that was killed half way leaves tables of different inputs behind, which are not believed.
    """
    place = _Place(table, part)
    made_of = digest(*inputs)
    stamp, record = lake.stamp(table, part), _record(lake, place)
    together = (stamp, *(lake.stamp(other, part, name) for other, name in beside))
    if all(one.made_of == made_of for one in together) and record.get("content_sha256") == stamp.content and record["passed"]:
        try:
            kept = Made(lake.read(table, part), record["dropped"], record["figures"])
        except RarError as error:
            context.log.warning(f"{error}; made again")
        else:
            context.log.info(f"{place}: all that it is made of is as it was; {kept.frame.height:,} rows kept")
            verdict = Verdict(True, record["rows"], [Outcome(**result) for result in record["results"]])
            return _described(lake, place, kept, verdict, extra(kept.frame), checked, made_now=False)
    made = make()
    results = []
    for other in made.beside:
        if other.table.name in SUITES and not other.name:
            judged = validate(other.table, other.frame).results
            results += [replace(result, name=f"{other.table.name}: {result.name}") for result in judged]
        lake.write(other.table, other.frame, part, other.name, made_of=made_of)
    verdict = _write(lake, place, made, made_of, checked, results)
    return _described(lake, place, made, verdict, extra(made.frame), checked, made_now=True)


class _Place(NamedTuple):
    """Where a table lies in the lake."""

    table: Table
    part: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.name or self.table.name, self.part) if part)


def _write(lake: Lake, place: _Place, made: Made, made_of: str, checked: bool, more: Sequence[Outcome] = ()) -> Verdict:
    """Judge a table and write it, then what is said of it, which names the content that it is said of. `more`: what came of tables beside it."""
    judged = validate(place.table, made.frame).results if checked else []
    results = [*judged, *more]
    verdict = Verdict(all(result.passed for result in results), made.frame.height, results)
    path = lake.write(place.table, made.frame, place.part, place.name, made_of=made_of)
    record = {
        "table": place.table.name,
        "part": place.part,
        "content_sha256": lake.stamp(*place).content,
        **asdict(verdict),
        "dropped": made.dropped,
        "figures": made.figures,
    }
    write_json(path.with_name(RECORD), record)
    return verdict


def _described(
    lake: Lake, place: _Place, made: Made, verdict: Verdict, extra: Metadata, checked: bool, made_now: bool
) -> dg.MaterializeResult[Any]:
    content = lake.stamp(*place).content
    return dg.MaterializeResult(
        metadata=table_metadata(
            place.table,
            made.frame,
            path=lake.file(*place),
            dropped=made.dropped,
            figures=made.figures,
            partitioned=place.part is not None,
            content=content,
            extra={**extra, "made_now": dg.MetadataValue.bool(made_now)},
        ),
        check_results=[check_result(verdict)] if checked else [],
        data_version=dg.DataVersion(content),
    )


def _record(lake: Lake, place: _Place) -> dict[str, Any]:
    """What was said of a table when it was made; empty where nothing that can be read."""
    try:
        record = json.loads(lake.file(*place).with_name(RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
