"""The report says of every data set whether the judge can teach, with the figures, and why no feedback was collected."""

import json
from dataclasses import replace

import polars as pl

from rar_pipeline.evaluation.judge_section import as_json, checked, judge_check_section
from rar_pipeline.evaluation.report import render_report, report_json
from rar_pipeline.settings import Settings
from rar_pipeline.tables import JUDGE_CHECK

from .made_up import inputs

REAL = Settings(_env_file=None, sources="mirror")


def table(dataset: str, judge: float, *, conversations: int = 20, error: str = "") -> pl.DataFrame:
    """A judge with the same N@10 in every case, against a retriever with .5, fused half way; it reverses what it is shown."""
    rows = []
    for number in range(conversations):
        for shown in ("retriever", "shuffled"):
            row = {"dataset": dataset, "case_id": f"{number}", "dialogue_id": f"{number}", "shown": shown, "targets": ["b"]}
            row |= {"candidates": ["a", "b"], "scores": [2.0, 1.0], "retriever": 0.5, "chance": 0.4, "mode": "label"}
            row |= {"prompt_tokens": 40, "answer_tokens": 10, "seconds": 1.5, "cost": 0.01}
            told = {"status": "answered", "ranking": ["b", "a"], "judge": judge}
            told |= {"fused": (judge + 0.5) / 2, "weight": 0.5} if shown == "retriever" else {}
            rows.append(row | ({"status": "failed", "raw_answer": error, "ranking": []} if error else told))
    return JUDGE_CHECK.frame(rows)


def test_every_data_set_has_its_verdict_its_figures_and_what_followed() -> None:
    checks = checked(pl.concat([table("inspired", 0.3), table("redial", 0.9)]), REAL)
    passed, stopped = judge_check_section(checks)
    assert (passed.title, stopped.title) == ("ReDial: can the judge teach?", "INSPIRED: can the judge teach?")
    assert passed.text.startswith(
        "Feedback is collected: the judge's order, alone and fused with its scores, beats the retriever's"
    )
    assert stopped.text.startswith(
        "Collection stopped: the judge's order does not beat the retriever's (N@10 alone 0.300 (-0.200"
    )
    figures = {row[0].split(",")[0]: row[1:] for row in passed.grid.rows if "shuffled" not in row[0]}
    assert figures["the judge"] == (".900", "+.400", "+.400 to +.400", "−1.000", "0.0 %")
    assert figures["the retriever's own order"][:2] == (".500", "–")
    assert figures["a random order"][0] == ".400"
    assert all(
        said in passed.grid.caption
        for said in ("20 cases of 20 conversations", "40 questions", "2,000 tokens", "1.50 s a question", "cost 0.40")
    )


def test_the_forced_collection_is_told_as_such() -> None:
    (block,) = judge_check_section(checked(table("redial", 0.3), Settings(_env_file=None, sources="sample")))
    assert block.text.startswith("Feedback is collected only because the sample world is there to show the machinery")


def test_the_page_and_its_json_hold_the_check_and_what_the_endpoint_said_stays_text() -> None:
    hostile = table("redial", 0.0, error="<script>alert(1)</script>")
    made = replace(inputs(conversations=20), judge_checks=checked(hostile, REAL))
    page = render_report(made)
    assert "the judge answered none of 20 questions" in page
    assert "<script>alert(1)" not in page
    told = json.loads(json.dumps(report_json(made), allow_nan=False))["judge_check"]["redial"]
    assert (told["passes"], told["collects"]) == (False, False)
    assert told["figures"]["failed"] == 20


def test_without_an_interval_there_is_none_to_show() -> None:
    checks = checked(table("redial", 0.9, conversations=1), REAL)
    (block,) = judge_check_section(checks)
    assert "too few conversations" in block.text
    assert {row[3] for row in block.grid.rows} == {"–"}
    assert as_json(checks)["redial"]["differences"]["judge"]["low"] is None


def test_a_data_set_that_was_not_checked_is_not_told_of() -> None:
    assert judge_check_section(checked(JUDGE_CHECK.empty(), REAL)) == []
