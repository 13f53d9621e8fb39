"""Objectives side by side: paired on the same cases, the control named, and a reason where they are missing."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rar_pipeline.evaluation.judge_section import Checked
from rar_pipeline.evaluation.objective_section import _difference, compared, section
from rar_pipeline.preference.judge_check import Decision, Verdict
from rar_pipeline.retriever.version import Version

from .test_champion import BASE, scores

NAMES = {"round_1": "dpo", "round_1_odds": "odds", "round_1_sft": "sft"}
VERSIONS = [
    Version(name, "redial", "f", "round_0", {}, {"objective": objective}, [], {"updates": 12})
    for name, objective in NAMES.items()
]
GAINS = {"round_0": 0.0, "round_1": 0.1, "round_1_odds": 0.0, "round_1_sft": 0.05}


def metrics() -> pl.DataFrame:
    noise = np.random.default_rng(3).normal(0, 0.01, len(BASE))
    frames = [scores(name, BASE, "test") for name in GAINS]
    return pl.concat([*frames, *(scores(f"{name}+llm", BASE + gain + noise * gain, "test") for name, gain in GAINS.items())])


def test_each_objective_is_held_against_supervision_alone_and_against_the_control() -> None:
    rows = {row["objective"]: row for row in compared(metrics(), VERSIONS, "test", 0)}
    assert list(rows) == ["dpo", "odds", "sft"]
    dpo = rows["dpo"]
    assert dpo["cases"] == len(BASE) and dpo["updates"] == 12
    assert dpo["against_start"]["difference"] == pytest.approx(0.1, abs=0.01) and dpo["against_start"]["low"] > 0
    assert dpo["against_control"]["difference"] == pytest.approx(0.05, abs=0.01)
    assert rows["sft"]["against_control"]["difference"] is None, "the control is not held against itself"
    json.dumps(list(rows.values()))
    (block,) = section(list(rows.values()), ["redial"], {})
    cells = {row[0]: row for row in block.grid.rows}
    assert set(cells) == {"dpo", "odds", "sft, the control"}
    assert cells["odds"][4] == "the same lists"
    assert _difference({"difference": 0.01, "low": -0.01, "high": 0.03}) == "+.010 (−.010 to +.030, within the noise)"
    assert "within the noise" not in cells["dpo"][4]
    few = {"difference": 0.03, "low": 0.01, "high": 0.05, "conversations": 8}
    assert _difference(few) == "+.030 (+.010 to +.050, too few conversations)"


def test_where_nothing_could_be_compared_the_report_says_why() -> None:
    alone = [VERSIONS[0]]
    assert compared(metrics(), alone, "test", 0) == []
    found = Verdict(False, "it knows nothing", (), {})
    stopped = Checked(found, Decision(False, "collection stopped: it knows nothing"))
    (block,) = section([], ["redial"], {"redial": stopped})
    assert block.text == "Collection stopped: it knows nothing." and not block.grid.rows
    (block,) = section([], ["redial"], {"redial": replace_decision(stopped)})
    assert "No set of round 1's feedback teaches" in block.text
    assert section([], ["redial"], {}) == []


def replace_decision(checked: Checked) -> Checked:
    return checked._replace(decision=Decision(True, "feedback is collected"))


def test_a_control_that_was_not_made_leaves_its_column_empty() -> None:
    rows = compared(metrics(), [replace(version) for version in VERSIONS[:2]], "test", 0)
    assert len(rows) == 2
    only = metrics().filter(~pl.col("system").str.contains("sft"))
    assert all(row["against_control"]["difference"] is None for row in compared(only, VERSIONS[:2], "test", 0))
