"""The gate: only a win beyond the noise, on validation data, changes what serves."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.champion import (
    champion_folder,
    choose_champion,
    decide,
    incumbent,
    read_champion,
    read_history,
    roll_back,
    served_as,
    unmet,
)
from rar_pipeline.files import sha256_of, write_json
from rar_pipeline.retriever.version import RECORD, WEIGHTS
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
FIT = {"round_0": 0.4, "round_1": 0.4, "incumbent": 0.4}.__getitem__
NOISE = np.random.default_rng(1).normal(0, 0.1, 60)


def test_a_clear_win_on_validation_takes_the_place() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE + 0.1), scores("round_1+llm", BASE)])
    choice = choose_champion(metrics, ["round_0", "round_1"], None, 0, FIT)
    assert choice["version"] == "round_1" and choice["llm_weight"] == 0
    assert choice["trials"][0]["cases"] == 60 and choice["trials"][0]["low"] > 0


def test_a_gain_within_the_noise_does_not() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE + NOISE - NOISE.mean() + 0.005)])
    assert choose_champion(metrics, ["round_0", "round_1"], None, 0, FIT)["version"] == "round_0"


def test_test_data_has_no_say() -> None:
    metrics = pl.concat(
        [scores("round_0", BASE), scores("round_1", BASE), scores("round_0", BASE, "test"), scores("round_1", BASE + 0.5, "test")]
    )
    assert choose_champion(metrics, ["round_0", "round_1"], None, 0, FIT)["version"] == "round_0"


def test_the_one_that_serves_stays_until_it_is_beaten() -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_1", BASE), scores("round_1+llm", BASE + 0.2)])
    choice = choose_champion(metrics, ["round_0", "round_1"], "round_1", 0, FIT)
    assert choice["version"] == "round_1" and choice["llm_weight"] == 1


def test_a_challenger_that_answered_fewer_cases_cannot_win_and_the_llm_may() -> None:
    better = pl.concat([scores("round_0", BASE), scores("round_1", BASE[:30] + 0.2), scores("round_0+llm", BASE[:30] + 0.2)])
    choice = choose_champion(better, ["round_0", "round_1"], None, 0, FIT)
    assert (choice["version"], choice["llm_weight"]) == ("round_0", 1)
    assert choice["trials"][0]["low"] > 0 and choice["trials"][0]["wins"] is False


@pytest.mark.parametrize(("conversations", "wins"), [(8, False), (19, False), (20, True)])
def test_a_few_conversations_decide_nothing_however_large_the_gain(conversations: int, wins: bool) -> None:
    metrics = pl.concat([scores("round_0", BASE), scores("round_0+llm", BASE[:conversations] + 0.3)])
    choice = choose_champion(metrics, ["round_0"], None, 0, FIT)
    (trial, _) = choice["trials"]
    assert trial["low"] > 0 and trial["conversations"] == conversations
    assert (choice["llm_weight"] == 1, trial["wins"]) == (wins, wins)
    assert (f"round_0+llm met it in {conversations} conversations, too few to win" in choice["why"]) is not wins


def test_a_fused_order_wins_like_any_other_and_has_to_beat_the_llm_s_own_where_that_won() -> None:
    own, after = scores("round_0", BASE), scores("round_0+llm", BASE + 0.1)
    won = choose_champion(pl.concat([own, after, scores("round_0+llm fused", BASE + 0.2)]), ["round_0"], None, 0, FIT)
    assert won["llm_weight"] == 0.4
    assert won["why"] == "round_0+llm beat round_0; round_0+llm fused beat round_0+llm"
    assert [(trial["challenger"], trial["champion"]) for trial in won["trials"]] == [
        ("round_0+llm", "round_0"),
        ("round_0+llm fused", "round_0+llm"),
    ]
    lost = choose_champion(pl.concat([own, after, scores("round_0+llm fused", BASE + 0.05)]), ["round_0"], None, 0, FIT)
    assert lost["llm_weight"] == 1
    alone = choose_champion(pl.concat([own, scores("round_0+llm fused", BASE[:30] + 0.05)]), ["round_0"], None, 0, FIT)
    assert alone["llm_weight"] == 0.4 and unmet(alone) == ["round_0+llm"]


# files: what serves, its history, the way back


class World:
    """A lake with two rounds whose weights are any bytes."""

    made_of = {"encoder": "minilm", "context_turns": 6, "max_history": 50}  # noqa: RUF012

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.folder = lake / "evaluation" / "champion" / "dataset=redial"
        self.rounds = {name: lake / "retriever" / name / "dataset=redial" for name in ("round_0", "round_1")}
        for name in self.rounds:
            self.train(name, name)

    def train(self, name: str, weights: str, encoder: str = "minilm") -> None:
        folder = self.rounds[name]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_text(weights)
        training = {**self.made_of, "encoder": encoder}
        record = {"name": name, "dataset": "redial", "fingerprint": weights, "parent": None, "network": {}, "training": training}
        write_json(folder / RECORD, record | {"known": [], "figures": {}, "weights_sha256": sha256_of(folder / WEIGHTS)})

    def decide(self, gain: float, more: Mapping[str, float] | None = None, when: str = "day 1") -> str:
        more = more or {}
        found = incumbent(self.lake, self.folder, self.rounds, self.made_of)
        metrics = pl.concat(
            [
                scores("round_0", BASE),
                scores("round_1", BASE + gain),
                *(scores(name, BASE + more.get(name, 0.0)) for name in {**found, **more}),
            ]
        )
        decide(self.lake, self.folder, found | self.rounds, metrics, FIT, 0, when=when, run="run")
        return self.served()

    def back(self, to: str, when: str = "day 2") -> str:
        roll_back(self.lake, self.folder, to, self.rounds, "people complained", when=when, run="run")
        return self.served()

    def served(self) -> str:
        record = read_champion(self.folder)
        assert record is not None
        place = champion_folder(self.lake, record)
        assert sha256_of(place / WEIGHTS) == record["weights_sha256"]
        return (place / WEIGHTS).read_text()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_change_is_on_record_with_its_reason_and_who_lost(world: World) -> None:
    assert world.decide(0.0) == "round_0"
    assert world.decide(0.0, when="day 2") == "round_0"
    assert world.decide(0.2, when="day 3") == "round_1"
    first, second = read_history(world.folder)
    assert (first["when"], first["by"], first["version"], first["replaced"]) == ("day 1", "gate", "round_0", None)
    assert first["lost"] == ["round_1", "round_0+llm", "round_0+llm fused"]
    assert (second["when"], second["version"], second["replaced"]) == ("day 3", "round_1", first["id"])
    assert "round_1 beat round_0" in second["why"]
    assert read_champion(world.folder)["since"] == "day 3"


def test_training_anew_does_not_change_what_serves(world: World) -> None:
    world.decide(0.2)
    world.train("round_0", "other 0")
    world.train("round_1", "other 1")
    assert world.served() == "round_1"
    assert incumbent(world.lake, world.folder, world.rounds, world.made_of)
    assert world.decide(0.0) == "round_1", "it met them as incumbent, and none beat it"
    assert world.decide(0.3) == "other 1"
    assert world.back("previous") == "round_1", "its weights are kept"


def test_one_command_goes_back_to_any_version_that_ever_served(world: World) -> None:
    world.decide(0.0)
    world.decide(0.2)
    assert world.back("previous") == "round_0"
    assert read_history(world.folder)[-1]["why"] == "rolled back by a person: people complained"
    world.train("round_0", "other 0")
    first = read_history(world.folder)[0]["id"]
    assert world.back("round_0") == "other 0", "the round at hand"
    assert world.back(first) == "round_0", "the id of the history"
    assert world.back(first[:-4]) == "round_0"
    with pytest.raises(RarError, match=r"rollback to 'round_7': no such version .* there are: round_0, round_1"):
        world.back("round_7")


def test_what_was_taken_out_comes_back_only_when_trained_anew_or_called(world: World) -> None:
    world.decide(0.2)
    world.back("round_0")
    assert world.decide(0.2, when="day 3") == "round_0"
    assert "people complained" in read_champion(world.folder)["trials"][0]["barred"]
    assert unmet(read_champion(world.folder)) == ["round_0+llm", "round_0+llm fused"]
    world.train("round_1", "better")
    assert world.decide(0.2, when="day 4") == "better"


def test_an_order_that_was_taken_out_comes_back_only_when_called(world: World) -> None:
    fusion = {"round_0+llm": -0.1, "round_0+llm fused": 0.1}
    world.decide(0.0)
    world.decide(0.0, fusion, when="day 2")
    assert (read_champion(world.folder)["llm_weight"], read_history(world.folder)[-1]["llm_weight"]) == (0.4, 0.4)
    assert world.back("previous", when="day 3") == "round_0"
    assert read_champion(world.folder)["llm_weight"] == 0, "the same weights in their own order"
    world.decide(0.0, fusion, when="day 4")
    assert read_champion(world.folder)["llm_weight"] == 0
    assert "people complained" in read_champion(world.folder)["trials"][-1]["barred"]
    world.back("previous", when="day 5")
    assert read_champion(world.folder)["llm_weight"] == 0.4
    world.decide(0.0, fusion, when="day 6")
    assert read_champion(world.folder)["llm_weight"] == 0.4


def test_records_of_before_fusion_are_read(world: World) -> None:
    world.decide(0.0)
    for file in ("champion.json", "history.json"):
        text = (world.folder / file).read_text()
        (world.folder / file).write_text(text.replace('"llm_weight": 0.0', '"llm": true'))
    assert read_champion(world.folder)["llm_weight"] == read_history(world.folder)[0]["llm_weight"] == 1


def test_an_incumbent_that_reads_otherwise_cannot_be_compared_and_the_record_says_so(world: World) -> None:
    world.train("round_0", "old", encoder="another")
    world.decide(0.0)
    world.train("round_0", "new")
    assert incumbent(world.lake, world.folder, world.rounds, world.made_of) == {}
    assert world.decide(0.0) == "new"
    assert "could not take part" in read_champion(world.folder)["why"]


def test_changed_weights_and_damaged_records_are_named(world: World) -> None:
    world.decide(0.0)
    (world.rounds["round_1"] / WEIGHTS).write_text("tampered")
    with pytest.raises(RarError, match=r"round_1/dataset=redial/retriever.safetensors: missing, or not the weights on record"):
        world.decide(0.0)
    (world.folder / "champion.json").write_text("{")
    with pytest.raises(RarError, match=r"champion.json: damaged"):
        read_champion(world.folder)


def test_the_champion_as_a_system_is_the_round_of_its_weights(world: World) -> None:
    world.decide(0.2)
    record = read_champion(world.folder)
    weights = {name: json.loads((path / RECORD).read_text())["weights_sha256"] for name, path in world.rounds.items()}
    assert served_as(record, {"round_0", "round_1"}, weights) == "round_1"
    assert served_as(record | {"llm_weight": 1.0}, {"round_1", "round_1+llm"}, weights) == "round_1+llm"
    assert served_as(record | {"llm_weight": 0.4}, {"round_1", "round_1+llm fused"}, weights) == "round_1+llm fused"
    assert served_as(record, {"round_0", "incumbent"}, {"round_0": "x"}) == "incumbent"
    assert served_as(record, {"round_0"}, {"round_0": "x"}) is None
