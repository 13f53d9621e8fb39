"""The simulated judge is what its dial says, the experiment goes on where it stopped, and its table compares what can be compared."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rar_pipeline.evaluation.bootstrap import paired_difference
from rar_pipeline.preference import experiment
from rar_pipeline.preference.experiment import AFTER, CONTROL, OBJECTIVES, START
from rar_pipeline.preference.experiment_plot import dose_and_response
from rar_pipeline.preference.simulated import SimulatedJudge, gumbel, popularity_of
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.settings import Settings
from rar_pipeline.tables import JUDGE_EXPERIMENT

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)

CATALOGUE = Catalogue(tuple(f"m{n}" for n in range(20)), np.eye(20, 20).astype(np.float16), np.zeros((20, 3), np.float32))
POPULARITY = popularity_of(CATALOGUE, {f"m{n}": n for n in range(20)})


def mean_place(judge: SimulatedJudge, movie: int, cases: int = 400) -> float:
    """Mean place, from 0, of a movie that is shown in the middle of 20 whose first is the target."""
    shown = np.roll(np.arange(20), 9)
    found = [judge.rank(str(case), shown, [0], CATALOGUE, POPULARITY).tolist().index(movie) for case in range(cases)]
    return float(np.mean(found))


def test_noise_is_gumbel_and_the_same_for_the_same_question() -> None:
    values = gumbel(0, "1:1", np.arange(100_000))
    assert values.mean() == pytest.approx(0.5772, abs=0.02) and values.var() == pytest.approx(np.pi**2 / 6, abs=0.05)
    assert (gumbel(0, "1:1", np.array([5, 3])) == values[[5, 3]]).all()
    assert not (gumbel(1, "1:1", np.arange(9)) == values[:9]).any() and not (gumbel(0, "1:2", np.arange(9)) == values[:9]).any()


def test_the_dial_goes_from_guessing_to_an_oracle() -> None:
    found = [mean_place(SimulatedJudge(a), 0) for a in (0.0, 1.0, 2.0, 100.0)]
    assert found[0] == pytest.approx(9.5, abs=0.8) and found[-1] == 0 and found == sorted(found, reverse=True)


def test_biases_copy_the_order_and_favour_the_popular() -> None:
    assert SimulatedJudge(0, place=1000.0).rank("1", np.array([7, 3, 5]), [], CATALOGUE, POPULARITY).tolist() == [7, 3, 5]
    assert SimulatedJudge(0, popularity=1000.0).rank("1", np.array([7, 3, 5]), [], CATALOGUE, POPULARITY).tolist() == [7, 5, 3]
    assert POPULARITY[0] == POPULARITY[1] == 0 < POPULARITY[2] < POPULARITY[19] < 1


SETTINGS = Settings(
    hidden=16, pretraining_epochs=1, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5, pool=30, candidates=8,
    preference_epochs=1, preference_learning_rate=0.01, experiment_contexts=30, experiment_seeds=2, experiment_dials=(0.0, 100.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(world: World, tmp_path_factory: pytest.TempPathFactory) -> experiment.Bench:  # noqa: F811
    folder = tmp_path_factory.mktemp("experiment")
    made_of = world.catalogue, world.encode, SETTINGS, print
    pretrain(folder / "pretrained", folder / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(folder / "round_0", folder / "attempts", "redial", world.cases, folder / "pretrained", *made_of)
    return experiment.prepare(folder / "round_0", world.cases, world.mentions, world.catalogue, world.encode, SETTINGS)


def test_an_oracle_lifts_the_order_and_a_published_competence_lies_between(bench: experiment.Bench) -> None:
    lifts = [experiment.lift(bench, dial) for dial in (0.0, 1.0, 100.0)]
    assert lifts == sorted(lifts) and lifts[-1] > lifts[0] + 0.5
    between = experiment.lift(bench, experiment.dial_for(bench, 0.5, steps=8))
    assert between == pytest.approx(0.5, abs=0.1)


def test_the_experiment_goes_on_where_it_stopped_and_its_table_is_paired(
    bench: experiment.Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "PUBLISHED", {})  # fewer judges; the plot still marks them
    lines: list[str] = []
    cells = experiment.run(bench, tmp_path, lines.append)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == 2 * 2 * (1 + len(OBJECTIVES)) == len([line for line in lines if "cells:" in line])
    first = files[0].stat().st_mtime_ns
    files[-1].unlink()
    lines.clear()
    again = experiment.run(bench, tmp_path, lines.append)
    assert len([line for line in lines if "cells:" in line]) == 1, "only the missing cell is made"
    assert again.equals(cells) and files[0].stat().st_mtime_ns == first

    calls = (
        cells.filter(pl.col("objective") != START)
        .group_by("seed")
        .agg(pl.col("calls").n_unique(), pl.col("calls").first().alias("n"))
    )
    assert calls["calls"].to_list() == [1, 1] and (calls["n"] >= 30).all(), "every objective and judge learned from as many calls"
    table = experiment.summarise("redial", cells, partial(paired_difference, seed=0, resamples=200))
    assert table.columns == list(JUDGE_EXPERIMENT.schema) and not table.select(JUDGE_EXPERIMENT.key).is_duplicated().any()
    assert set(table["judge"]) == {"SimulatedJudge"}
    everyone = table.filter((pl.col("bucket") == "all") & (pl.col("seed") == "all"))
    start = everyone.filter(pl.col("objective") == START).select("dial", "metric", start="value")
    against = everyone.filter(pl.col("reference") == START).join(start, on=["dial", "metric"])
    np.testing.assert_allclose(against["value"] - against["start"], against["difference"], atol=1e-9)
    assert set(everyone.filter(pl.col("reference") == CONTROL)["objective"]) == set(OBJECTIVES) - {CONTROL}
    oracle = everyone.filter((pl.col("objective") == START) & (pl.col("metric") == AFTER)).sort("dial")["value"]
    assert oracle[0] < oracle[1], "after an oracle the list is better than after one who guesses"
    axes = dose_and_response(table).axes[0]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == set(
        OBJECTIVES
    ) and "SimulatedJudge" in axes.get_xlabel()
    assert len(list(experiment.told(table))) == 2 * (2 * len(OBJECTIVES) - 1)
