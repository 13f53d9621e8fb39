"""Whether a boundary table keeps its `expectations`, and how a table that breaks them stops what lies downstream.

Great Expectations judges, Dagster shows: one asset check a table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from rar_pipeline.expectations import Expectation, expectations
from rar_pipeline.metadata import escaped, markdown_table, plain_text, table_value
from rar_pipeline.tables import Table

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

CHECK = "expectations"
FAILING_ROWS = 5


@dataclass(frozen=True)
class Outcome:
    """What came of one expectation; `unexpected_percent` is 0 to 100, `sample` holds up to five offending rows as short text."""

    name: str
    column: str
    passed: bool
    observed: str
    unexpected_count: int
    unexpected_percent: float
    sample: list[dict[str, str]]


@dataclass(frozen=True)
class Verdict:
    """What came of a table's suite over `rows` rows."""

    passed: bool
    rows: int
    results: list[Outcome]


def validate(table: Table, frame: pl.DataFrame) -> Verdict:
    """Judge a frame of `table` by its suite; nothing is written or sent.

    Raises RarError where a column is missing or has another type, KeyError where the table has no suite.
    """
    suite = expectations(table)
    judged = _judged_columns(table.conform(frame), suite)
    results = [_outcome(table, rule, judged, found) for rule, found in zip(suite, _judge(table, suite, judged), strict=True)]
    return Verdict(all(result.passed for result in results), judged.height, results)


def _judged_columns(frame: pl.DataFrame, suite: Sequence[Expectation]) -> pl.DataFrame:
    """The columns that the suite names; the key's lists as one text, since pandas can compare no lists."""
    derived = {rule.column: rule.of.alias(rule.column) for rule in suite if rule.of is not None}
    named = [name for rule in suite for name in _columns(rule)]
    plain = {
        name: pl.col(name).list.join(" ") if isinstance(frame.schema[name], pl.List) else pl.col(name)
        for name in named
        if name not in derived
    }
    return frame.select(list({**plain, **derived}.values()))


def _columns(rule: Expectation) -> list[str]:
    return list(rule.arguments.get("column_list", [rule.column] if rule.column else []))


def _judge(table: Table, suite: Sequence[Expectation], judged: pl.DataFrame) -> list[ExpectationValidationResult]:
    """What Great Expectations says of each expectation, in the order of the suite."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read at import by the versions that post usage to their makers
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset(table.name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": judged.to_pandas()})
    rules = [getattr(gxe, rule.judge)(**rule.arguments, meta={"rule": number}) for number, rule in enumerate(suite)]
    # all at once, as they share what they compute of a column
    told = batch.validate(
        gx.ExpectationSuite(table.name, expectations=rules),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": FAILING_ROWS},
    )
    return sorted(told.results, key=_rule_number)


def _rule_number(found: ExpectationValidationResult) -> int:
    return int(found.expectation_config.meta["rule"]) if found.expectation_config and found.expectation_config.meta else -1


def _outcome(table: Table, rule: Expectation, judged: pl.DataFrame, found: ExpectationValidationResult) -> Outcome:
    passed, result = bool(found.success), found.result
    count = int(result.get("unexpected_count") or 0)
    if not {"observed_value", "element_count"} & set(result):
        raise RuntimeError(f"{table.name}: the expectation {rule.name!r} cannot be judged: {found.exception_info}")
    rows, elements = result.get("observed_value"), result.get("element_count")
    observed = f"{rows:,} rows" if rows is not None else f"{count:,} of {elements:,} rows break it"
    shown = list(dict.fromkeys([*table.key, *_columns(rule)]))
    at = (result.get("partial_unexpected_index_list") or [])[:FAILING_ROWS]
    offending = judged.select(shown)[at] if at else judged.select(shown).clear()
    sample = [{name: plain_text(value) for name, value in row.items()} for row in offending.iter_rows(named=True)]
    percent = float(result.get("unexpected_percent") or 0.0)
    return Outcome(rule.name, rule.column, passed, observed, count, percent, sample)


def check_spec(asset: dg.CoercibleToAssetKey, table: Table | None = None) -> dg.AssetCheckSpec:
    """The asset check that an asset declares in `check_specs`; a failure stops what lies downstream.

    `table` gives the check the suite as its description. A partitioned asset declares it once and returns a result for each partition.
    """
    rules = [f"- {rule.name}" for rule in expectations(table)] if table else []
    description = "\n".join(["What must hold of this table (Great Expectations).", *([""] if rules else []), *rules])
    return dg.AssetCheckSpec(name=CHECK, asset=asset, blocking=True, description=description)


def check_result(verdict: Verdict, asset: dg.CoercibleToAssetKey | None = None) -> dg.AssetCheckResult:
    """The verdict for `MaterializeResult(check_results=[...])`; `asset` is needed only where one function makes several assets."""
    failed = [result for result in verdict.results if not result.passed]
    said = "; ".join(f"{result.name}: {result.observed}" for result in failed)
    metadata: dict[str, dg.MetadataValue] = {
        "rows": dg.MetadataValue.int(verdict.rows),
        "expectations_held": dg.MetadataValue.int(len(verdict.results) - len(failed)),
        "expectations_broken": dg.MetadataValue.int(len(failed)),
        "expectations": table_value(
            [
                {
                    "holds": result.passed,
                    "expectation": result.name,
                    "observed": result.observed,
                    "unexpected": result.unexpected_count,
                    "unexpected_percent": round(result.unexpected_percent, 4),
                }
                for result in verdict.results
            ]
        ),
    }
    if failed:
        shown = [f"**{escaped(result.name, 200)}**: {result.observed}\n\n{markdown_table(result.sample)}" for result in failed]
        metadata["failing_rows"] = dg.MetadataValue.md("\n\n".join(shown))
    return dg.AssetCheckResult(
        passed=verdict.passed,
        check_name=CHECK,
        asset_key=asset,
        severity=dg.AssetCheckSeverity.ERROR,
        description=said or f"all {len(verdict.results)} expectations hold",
        metadata=metadata,
    )
