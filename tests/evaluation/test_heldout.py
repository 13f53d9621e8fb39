"""Held-out evaluation: CIKM'23's figures by hand, answers scored again, dialogues that the lake knows, and the page."""

import json
import math
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.conversations.cikm23 import CikmTest, Row, entity
from rar_pipeline.conversations.reading import Turn
from rar_pipeline.errors import RarError
from rar_pipeline.evaluation import answers, heldout, heldout_report
from rar_pipeline.evaluation.published import PUBLISHED, tables
from rar_pipeline.tables import DIALOGUES, RECOMMENDATIONS

NAMES = ["Hoffa", "It_(2017_film)", "Jaws_(film)", "Up_(2009_film)", "Alien_(film)", "Kill_Bill:_Volume_1", "It_(1990_film)"]
HOFFA, IT, JAWS, UP, ALIEN, KILL, OLD_IT = (str(number) for number in range(7))


def row(targets, seen=(), line=0, dialogue="d"):
    return Row(line, dialogue, (Turn("seeker", "something like it, please"),), tuple(targets), tuple(seen))


def held_out(*rows):
    known = {str(i): entity(f"<http://dbpedia.org/resource/{name}>") for i, name in enumerate(NAMES)}
    return CikmTest(rows, known, frozenset(known), Counter())


def means(frame: pl.DataFrame, system: str) -> dict[str, float]:
    own = frame.filter(pl.col("system") == system)
    return dict(own.group_by("metric").agg(pl.col("value").mean()).iter_rows())


def numbered(*titles):
    return "Here you are:\n" + "\n".join(f"{place}. {title}" for place, title in enumerate(titles, 1))


def reply(index, content, prompt="something like it, please"):
    return answers.Reply(index, prompt, content)


MEANING = {HOFFA: "m0", IT: "m1", JAWS: "m2", UP: None, ALIEN: "m4", KILL: "m5", OLD_IT: "m1"}


def test_under_cikm23_every_new_target_is_a_case_and_what_is_not_linked_is_a_miss() -> None:
    test = held_out(row([JAWS, UP, HOFFA], seen=[HOFFA]), row([ALIEN, ALIEN], line=1))
    pairs = heldout.cases_of(test, "redial", MEANING, one_by_one=True)
    # Hoffa was named before; Up is not in the corpus; Alien is given twice and counts twice
    assert pairs["case_id"].to_list() == ["0.0", "0.1", "1.0", "1.1"]
    assert pairs["unlinked_targets"].to_list() == [0, 1, 0, 0]
    lists = [{"case_id": "0", "ranking": ["m0", "m4", "m2"]}, {"case_id": "1", "ranking": ["m4"]}]
    frame = RECOMMENDATIONS.frame({"dataset": "redial", "split": "test", "system": "s", **row} for row in lists)
    found = means(heldout.scored(heldout.target_by_target(frame, pairs), pairs, "cikm23"), "s")
    # ranks without what was named before: Jaws 2, Up never, Alien 1 and 1
    assert found["R@1"] == pytest.approx(2 / 4)
    assert found["R@5"] == pytest.approx(3 / 4)
    assert found["N@10"] == pytest.approx((1 / math.log2(3) + 0 + 1 + 1) / 4)
    assert found["MRR@10"] == pytest.approx((1 / 2 + 0 + 1 + 1) / 4)


def test_as_turns_the_same_rows_are_one_case_each() -> None:
    test = held_out(row([JAWS, UP, ALIEN]), row([IT], seen=[IT], line=1))
    (case,) = heldout.cases_of(test, "redial", MEANING, one_by_one=False).to_dicts()
    assert (case["targets"], case["unlinked_targets"], case["context"]) == (["m2", "m4"], 1, "Seeker: something like it, please")


def test_a_target_that_means_a_movie_named_before_cannot_be_had() -> None:
    known = dict(MEANING) | {JAWS: "m0"}
    (case,) = heldout.cases_of(held_out(row([JAWS], seen=[HOFFA])), "redial", known, one_by_one=True).to_dicts()
    assert (case["targets"], case["unlinked_targets"], case["history"]) == ([], 1, ["m0"])


def test_answers_are_scored_by_nearest_name_and_titles_that_mean_nothing_keep_their_place() -> None:
    test = held_out(row([JAWS, ALIEN], seen=[HOFFA]))
    told = numbered("Hoffa (1992)", "A title that nobody knows at all", '"Jaws" (1975)', "Jaws (1975)", "Aliem - in space")
    lists = answers.named_lists({0: reply(0, told)}, test)
    cases = heldout.cases_of(test, "redial", {i: e.name for i, e in test.entities.items()}, one_by_one=True)
    found = heldout.answer_metrics(lists, cases, "redial", "cikm23")
    # Hoffa was named before and leaves the list; then nobody's title, Jaws, Jaws again, Alien: ranks 2 and 4
    assert means(found, heldout.ANSWERS)["N@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / 2)
    # without the unmatched title: ranks 1 and 3
    assert means(found, heldout.CLOSE_ANSWERS)["N@10"] == pytest.approx((1 + 1 / 2) / 2)
    assert {key: lists.counts[key] for key in ("titles", "unmatched", "named before", "repeated")} == {
        "titles": 5,
        "unmatched": 1,
        "named before": 1,
        "repeated": 1,
    }


def test_answers_and_systems_of_the_corpus_are_paired_case_by_case() -> None:
    test = held_out(row([JAWS, UP]), row([ALIEN], line=1))
    pairs = heldout.cases_of(test, "redial", MEANING, one_by_one=True)
    named = heldout.cases_of(test, "redial", {i: e.name for i, e in test.entities.items()}, one_by_one=True)
    frame = heldout.named_recommendations({0: ["m2"], 1: []}, "redial", "s")
    own = heldout.scored(heldout.target_by_target(frame, pairs), pairs, "cikm23")
    lists = answers.named_lists({0: reply(0, "1. Up"), 1: reply(1, None)}, test)
    theirs = heldout.answer_metrics(lists, named, "redial", "cikm23")
    assert set(own["case_id"]) == set(theirs["case_id"]) == {"0.0", "0.1", "1.0"}
    assert lists.counts["failed calls"] == 1


@pytest.mark.parametrize(
    ("content", "titles"),
    [
        ("1. Jaws (1975)\n2) **Alien** (1979)\n\n10. Up", ["Jaws (1975)", "Alien (1979)", "Up"]),
        ("Sure! 1. Jaws\n2. Alien\nEnjoy!", ["Jaws", "Alien"]),
        ("Jaws, Alien,\nUp", ["Jaws", "Alien", "Up"]),
        ('["Jaws (1975)", "Up"]', ["Jaws", "Up"]),
        ("", []),
    ],
)
def test_lists_are_read_however_they_are_written(content: str, titles: list[str]) -> None:
    assert answers.titles_of(content) == titles


def test_a_dash_inside_a_title_is_no_comment_and_equal_distances_go_to_the_first_name() -> None:
    assert answers.nearest_names(["Kill Bill: Volume 1", "Aliens", "xt"], ["It", "Up", "Alien", "Kill Bill: Volume 1"]) == {
        "Kill Bill: Volume 1": ("Kill Bill: Volume 1", 0),
        "Aliens": ("Alien", 1),
        "xt": ("It", 1),
    }
    known = {"0": entity("Mission: Impossible - Fallout (2018)"), "1": entity("Mission: Impossible (1996)")}
    test = CikmTest((Row(0, "d", (), ("0",), ()),), known, frozenset(known), Counter())
    told = numbered("Mission: Impossible - Fallout", "Mission: Impossible - the first of them")
    assert answers.named_lists({0: reply(0, told)}, test).close[0] == [
        "Mission: Impossible   Fallout".replace("   ", " "),
        "Mission: Impossible",
    ]


def test_index_counts_lines_or_rows_that_count_whichever_the_prompts_bear_out() -> None:
    rows = [Row(line, "d", (Turn("seeker", f"wish {line}"),), ("0",), ()) for line in (1, 3)]
    by_line = [reply(1, "1. A", "say: wish 1"), reply(3, "1. B", "say: wish 3")]
    by_place = [reply(0, "1. A", "say: wish 1"), reply(1, "1. B", "say: wish 3")]
    for replies in (by_line, by_place):
        assert {place: found.content for place, found in answers.align(replies, rows).items()} == {0: "1. A", 1: "1. B"}
    assert answers.borne_out(answers.align(by_place, rows), rows) == 1.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no", "line 2: expected a JSON object with `index`"),
        ('{"index": 5, "resp": {"choices": []}}', "line 2: `resp` has no choices"),
        ('{"index": 0, "resp": "API Failed"}', "line 2: index 0 was answered before"),
    ],
)
def test_a_malformed_answer_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    good = json.dumps({"index": 0, "prompt": "", "resp": {"choices": [{"message": {"content": "1. Jaws"}}]}})
    (tmp_path / "answers.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(RarError, match=said):
        answers.read_answers(tmp_path / "answers.jsonl")


def test_dialogues_that_were_taught_are_known_by_id_and_by_their_words() -> None:
    said = [
        "I am looking for a quiet film on trains",
        "It may be old, but has to be in colour",
        "My daughter should like it as well",
    ]
    taught = DIALOGUES.frame([{"dialogue_id": "t1", "text": ". ".join(said)}, {"dialogue_id": "t2", "text": said[0]}])
    spoken = {
        "other id": [said[0], f"{said[1]}! {said[2]}?"],
        "t9": ["Hello"],
        "fresh": [said[0], "Nothing else of it was ever said before"],
    }
    assert heldout.known_dialogues(spoken, taught, ["t9"]) == {"other id", "t9"}


def test_the_page_escapes_what_it_shows_and_keeps_protocols_apart() -> None:
    figures = [
        {"dataset": "redial", "split": "test", "protocol": "cikm23", "scope": "all", "system": "<script>alert(1)</script>"}
        | {"metric": metric, "value": 0.25, "low": 0.2, "high": 0.3, "standard_error": 0.01, "cases": 7}
        for metric in heldout_report.SHOWN
    ]
    report = {
        "run": {"world": "<b>w</b>", "dataset": "redial", "protocol": "cikm23"},
        "results": figures,
        "systems": {},
        "warnings": ["<i>said</i>"],
        "cases": {"scored": 7},
        "corpus": {"targets_linked_share": 0.5},
        "answers": {},
        "versions": {},
        "published": tables("redial"),
    }
    page = heldout_report.render(report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page and "&lt;i&gt;said" in page and "&lt;b&gt;w" in page
    assert [table["protocol"] for table in report["published"]] == ["cikm23", "fresh_turns"]
    assert page.count("GPT-4") == 1 and page.count("ReFICR") == 1
    assert {entry.protocol for entry in PUBLISHED} == {"cikm23", "fresh_turns", "sequences"}
    (table,) = heldout_report.tables(report)
    assert table.row_count == 1
