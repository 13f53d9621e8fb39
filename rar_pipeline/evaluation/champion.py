"""Which version serves a data set: the gate that a challenger must pass, on validation data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rar_pipeline.evaluation.bootstrap import paired_difference
from rar_pipeline.evaluation.systems import after_llm

METRIC = "N@10"


def _of(metrics: pl.DataFrame, system: str) -> pl.DataFrame:
    return metrics.filter(
        (pl.col("split") == "validation") & (pl.col("protocol") == "fresh_turns") & (pl.col("system") == system)
    )


def choose_champion(metrics: pl.DataFrame, versions: Sequence[str], present: str | None, seed: int) -> dict[str, Any]:
    """The version that serves, and why.

    metrics: METRICS of one data set; versions: oldest first; present: the version that serves now, None at the beginning. A challenger takes the
    place of the champion only where its validation N@10 is higher by a paired bootstrap (95 % interval above zero); whether the LLM
    re-ranks what it serves is decided the same way. Test data has no say. Every comparison is on record.
    """
    champion = present if present is not None and present in versions else versions[0]
    trials: list[dict[str, Any]] = []
    for challenger in versions:
        if challenger == champion:
            continue
        trial = compare(metrics, challenger, champion, seed)
        trials.append(trial)
        if trial["wins"]:
            champion = challenger
    llm = compare(metrics, after_llm(champion), champion, seed)
    won = [trial for trial in trials if trial["wins"]]
    why = f"{champion} beat {won[-1]['champion']}" if won else f"no challenger beat {champion} beyond the noise"
    return {
        "version": champion,
        "llm": llm["wins"],
        "metric": METRIC,
        "split": "validation",
        "why": why,
        "trials": [*trials, llm],
    }


def compare(metrics: pl.DataFrame, challenger: str, champion: str, seed: int) -> dict[str, Any]:
    """One trial: difference of validation N@10, its interval, the number of cases, and whether the challenger wins."""
    found = paired_difference(_of(metrics, challenger), _of(metrics, champion), METRIC, seed=seed)
    return {"challenger": challenger, "champion": champion, **found._asdict(), "wins": bool(found.cases and found.low > 0)}


def told(champion: Mapping[str, Any]) -> str:
    """The choice in one sentence."""
    served = champion["version"] + (" re-ranked by the LLM" if champion["llm"] else " in its own order")
    return f"{served}: {champion['why']} (validation {champion['metric']}, paired bootstrap)"
