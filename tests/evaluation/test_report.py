"""The report: self-contained, safe with foreign text, honest about noise, readable by people and machines."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest

from rar_pipeline import tables
from rar_pipeline.evaluation.grids import format_figure, format_signed
from rar_pipeline.evaluation.report import render_report, report_json
from rar_pipeline.evaluation.report_sections import boards, findings, verdict

from .made_up import inputs

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags with attributes, and the headings in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def of(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]


@pytest.fixture(scope="module")
def made_up():
    return inputs()


@pytest.fixture(scope="module")
def text(made_up):
    return render_report(made_up)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_text_of_data_sets_and_models_is_escaped():
    world = inputs(conversations=6, movies=60, title=EVIL)
    evil = replace(
        world,
        world=EVIL,
        versions={"model": EVIL},
        champions={"redial": EVIL},
        systems={EVIL: EVIL},
        dropped=pl.DataFrame({"table": [EVIL], "reason": [EVIL], "rows": [1]}),
        leaderboard=world.leaderboard.with_columns(system=pl.lit(EVIL) + pl.col("system")),
    )
    text = render_report(evil)
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert len(Page(text).of("script")) == 1


def test_nothing_is_asked_of_a_network(text, page):
    assert not page.of("link", "iframe", "object", "embed")
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert attrs.get(name, "#").startswith("#")
    assert "default-src 'none'" in page.of("meta")[2]["content"]
    assert not re.search(r"@import|url\((?!#)", text)


def test_structure_for_assistive_technology(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert page.of("html")[0]["lang"] == "en"
    assert all(len(page.of(landmark)) == 1 for landmark in ("header", "nav", "main", "footer", "h1"))
    assert all("scope" in attrs for attrs in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    assert page.of("svg")
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.of("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(attrs["href"][1:] in ids for attrs in page.of("a"))
    assert all(
        attrs.get("aria-label") and attrs.get("tabindex") == "0" for attrs in page.of("div") if attrs.get("role") == "region"
    )


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_of_both_themes(text, theme):
    colours = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text.split("@media (prefers-color-scheme: dark)")[theme].split("* {")[0])
    )
    for ground in ("page", "card"):
        for ink in ("ink", "soft", "accent", "good", "bad"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for number in range(1, 7):
            assert contrast(colours[f"series-{number}"], colours[ground]) >= 3


def contrast(a, b):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def compared(low, high, difference=0.01):
    return tables.LEADERBOARD.frame(
        [
            {
                "dataset": "redial",
                "split": "test",
                "protocol": "fresh_turns",
                "scope": "judged",
                "system": "llm",
                "metric": "N@10",
                "value": 0.1,
                "reference": "base",
                "difference": difference,
                "difference_low": low,
                "difference_high": high,
                "cases": 30,
            }
        ]
    )


@pytest.mark.parametrize(
    ("low", "high", "word", "sentence"),
    [
        (0.01, 0.03, "better", "The LLM helps on ReDial."),
        (-0.03, -0.01, "worse", "The LLM does not help on ReDial: it makes the ranking worse."),
        (-0.01, 0.03, "within the noise", "The LLM is not shown to help on ReDial: the difference is within the noise."),
        (0.0, 0.0, "within the noise", "The LLM is not shown to help on ReDial: the difference is within the noise."),
        (None, None, "unknown", "The LLM cannot be judged on ReDial: too few conversations."),
    ],
)
def test_the_words_follow_from_the_interval(made_up, low, high, word, sentence):
    board = compared(low, high)
    assert verdict(board.row(0, named=True)) == word
    quick = replace(made_up, metrics=tables.METRICS.empty(), feedback=(), curves={}, leaderboard=board, claims={"llm": "The LLM"})
    assert sentence in render_report(quick)


def test_few_conversations_make_nothing_better_or_worse():
    board = compared(0.01, 0.03).with_columns(cases=pl.lit(8, pl.Int64))
    assert verdict(board.row(0, named=True)) == "unknown"


def test_findings_read_the_scope_with_more_cases_and_the_paired_one_among_equals():
    everywhere = compared(0.01, 0.02).with_columns(scope=pl.lit("all"))
    board = pl.concat([everywhere, compared(-0.01, 0.02)])
    assert [row["verdict"] for row in findings(board, {"llm": "The LLM"}, "test")] == ["within the noise"]
    board = pl.concat([everywhere.with_columns(pl.col("cases") + 1), compared(-0.01, 0.02)])
    assert [row["verdict"] for row in findings(board, {"llm": "The LLM"}, "test")] == ["better"]


def test_boards_begin_with_the_paired_test_cases_and_the_best_system(made_up):
    first = boards(made_up.leaderboard)[0]
    assert (first["dataset"], first["split"], first["protocol"], first["scope"]) == ("redial", "test", "fresh_turns", "judged")
    values = [row["headline"]["value"] for row in first["systems"]]
    assert values == sorted(values, reverse=True)


def test_examples_show_each_system_and_mark_what_was_right(text, page):
    labels = [attrs["aria-label"] for attrs in page.of("article")]
    assert len(labels) == 12
    assert "✓ right" in text


def test_json_holds_every_result_with_its_interval(made_up):
    found = json.loads(json.dumps(report_json(made_up), allow_nan=False))
    assert len(found["results"]) == made_up.leaderboard.height
    assert {"dataset", "split", "protocol", "system", "metric", "value", "low", "high", "cases", "scope"} <= set(
        found["results"][0]
    )
    assert found["versions"]["files"]["imdb/title.crew.tsv"] == "ab" * 32
    assert found["corpus"]["movies"] == 400


def test_a_run_of_almost_nothing_is_still_a_report(made_up):
    bare = replace(
        made_up,
        recommendations=tables.RECOMMENDATIONS.empty(),
        metrics=tables.METRICS.empty(),
        leaderboard=tables.LEADERBOARD.empty(),
        cases=tables.CASES.empty(),
        mentions=tables.MENTIONS.empty(),
        feedback=(),
        curves={},
        champions={},
        dropped=made_up.dropped.clear(),
    )
    text = render_report(bare)
    assert "No preference round was run." in text
    assert "every row that was read was used" in text
    json.dumps(report_json(bare), allow_nan=False)


def test_the_report_is_the_same_each_time(made_up, text):
    assert render_report(made_up) == text


def test_figures_are_printed_as_in_papers():
    assert [format_figure(x) for x in (0.1924, 0.0, 1.0, 0.9999, None)] == [".192", ".000", "1.000", "1.000", "–"]
    assert [format_signed(x) for x in (0.0123, -0.0042, -0.0001, None)] == ["+.012", "−.004", "+.000", "–"]
