"""What the report says of the objectives: what each made of round 1's feedback, alone and after the LLM, beside supervision that went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import polars as pl

from rar_pipeline.evaluation.bootstrap import FEWEST, paired_difference
from rar_pipeline.evaluation.breakdown_sections import named
from rar_pipeline.evaluation.grids import Block, Grid, format_count, format_figure, format_signed
from rar_pipeline.evaluation.judge_section import Checked
from rar_pipeline.evaluation.systems import after_llm
from rar_pipeline.preference.compared import CONTROL, version_name
from rar_pipeline.retriever.version import Version

METRIC = "N@10"
START = "round_0"
Row = dict[str, Any]


def compared(metrics: pl.DataFrame, versions: Sequence[Version], split: str, seed: int) -> list[Row]:
    """One row a (data set, version of round 1): objective, updates kept, N@10 alone and after the LLM, and the latter's paired differences.

    `versions`: the records of all versions; differences are to round 0 after the LLM and to the control after the LLM, each with low, high,
    cases and conversations, null where they cannot be had. A data set without a further objective has no row.
    """
    of_round = [version for version in versions if version.parent == START and version.name.startswith("round_1")]
    datasets = {version.dataset for version in of_round if version.name != "round_1"}
    scores = metrics.filter(split=split, protocol="fresh_turns", metric=METRIC)

    def of(dataset: str, system: str) -> pl.DataFrame:
        return scores.filter(dataset=dataset, system=system)

    rows = []
    for version in of_round:
        if version.dataset not in datasets:
            continue
        after = of(version.dataset, after_llm(version.name))
        row: Row = {"dataset": version.dataset, "objective": version.training["objective"], "version": version.name}
        row |= {"updates": version.figures.get("updates"), "cases": len(after)}
        row |= {"alone": of(version.dataset, version.name)["value"].mean(), "after_llm": after["value"].mean()}
        for name, reference in (("start", START), ("control", version_name(CONTROL))):
            found = paired_difference(after, of(version.dataset, after_llm(reference)), METRIC, seed=seed)
            known = found.cases and reference != version.name
            row[f"against_{name}"] = {
                key: value if known and not isnan(value) else None for key, value in found._asdict().items()
            }
        rows.append(row)
    return rows


def section(rows: Sequence[Row], datasets: Sequence[str], checks: Mapping[str, Checked]) -> list[Block]:
    """One table a data set, or the reason why there is none; nothing at all where no data set has one and nothing stopped the collection."""
    found = []
    for dataset in datasets:
        own = [row for row in rows if row["dataset"] == dataset]
        if own:
            found.append(_table(dataset, own))
        elif dataset in checks:
            decision = checks[dataset].decision
            why = "no set of round 1's feedback teaches, or RAR_OBJECTIVES names no other" if decision.collects else decision.said
            found.append(Block(f"{named(dataset)}: objectives are not compared", f"{why[0].upper()}{why[1:]}.", Grid("", (), ())))
    return found


def _table(dataset: str, rows: Sequence[Row]) -> Block:
    columns = ("Objective", "Updates", f"{METRIC} alone", "After the LLM", "Gain over round_0", "Gain over the control", "Cases")
    cells = [
        (
            f"{row['objective']}, the control" if row["objective"] == CONTROL else row["objective"],
            format_count(row["updates"]),
            format_figure(row["alone"]),
            format_figure(row["after_llm"]),
            _difference(row["against_start"]),
            _difference(row["against_control"]),
            format_count(row["cases"]),
        )
        for row in rows
    ]
    caption = (
        f"{named(dataset)}: versions of round 1 from the same parent, the same feedback, in the same steps. Updates: of the epoch that is kept, "
        "chosen on validation; 0: the round ended where it began. Gains are after the LLM, on the cases that it saw. The control goes on with "
        "supervision: what an objective gains over it is what preferences teach."
    )
    return Block(f"{named(dataset)}: every objective, from the same feedback", "", Grid(caption, columns, cells, (4, 5)))


def _difference(found: Mapping[str, float | None]) -> str:
    if found["difference"] is None:
        return "–"
    if found["low"] is None:
        return format_signed(found["difference"])
    if found["low"] == found["high"] == 0:
        return "the same lists"
    verdict = "" if (found["low"] or 0) > 0 or (found["high"] or 0) < 0 else ", within the noise"
    if (found.get("conversations") or FEWEST) < FEWEST:
        verdict = ", too few conversations"
    return f"{format_signed(found['difference'])} ({format_signed(found['low'])} to {format_signed(found['high'])}{verdict})"
