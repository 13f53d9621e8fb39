"""The gate: only a win beyond the noise, on validation data, changes what serves."""

import numpy as np
import polars as pl

from rar_pipeline.evaluation.champion import choose_champion
from rar_pipeline.tables import METRICS


def scores(system: str, values: np.ndarray, split: str = "validation") -> pl.DataFrame:
    rows = [
        {
            "dataset": "redial",
            "split": split,
            "protocol": "fresh_turns",
            "system": system,
            "case_id": f"{n}:1",
            "dialogue_id": str(n),
        }
        | {"metric": "N@10", "value": float(value), "weight": 1.0}
        for n, value in enumerate(values)
    ]
    return METRICS.frame(rows)


BASE = np.random.default_rng(0).uniform(0, 0.5, 60)
NOISE = np.random.default_rng(1).normal(0, 0.1, 60)


def test_a_clear_win_on_validation_takes_the_place() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE + 0.1), scores("round_1+llm", BASE)])
    choice = choose_champion(metrics, ["round_0", "round_1"], None, 0)
    assert choice["version"] == "round_1" and choice["llm"] is False
    assert choice["trials"][0]["cases"] == 60 and choice["trials"][0]["low"] > 0


def test_a_gain_within_the_noise_does_not() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE + NOISE - NOISE.mean() + 0.005)])
    assert choose_champion(metrics, ["round_0", "round_1"], None, 0)["version"] == "round_0"


def test_test_data_has_no_say() -> None:
    metrics = pl.concat(
        [scores("round_0", BASE), scores("round_1", BASE), scores("round_0", BASE, "test"), scores("round_1", BASE + 0.5, "test")]
    )
    assert choose_champion(metrics, ["round_0", "round_1"], None, 0)["version"] == "round_0"


def test_the_one_that_serves_stays_until_it_is_beaten() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE), scores("round_1+llm", BASE + 0.2)])
    choice = choose_champion(metrics, ["round_0", "round_1"], "round_1", 0)
    assert choice["version"] == "round_1" and choice["llm"] is True
