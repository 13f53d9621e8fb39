"""Figures stay inside a page: themed, named, harmless, the same each time."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from rar_pipeline.evaluation import plots


@pytest.fixture
def figure():
    curves = pl.DataFrame({"series": ["a", "a", "<b>"], "epoch": [0, 1, 0], "value": [0.1, 0.2, None]})
    return plots.training_curves(curves, "loss & more")


def test_svg_is_one_named_element_that_takes_the_colours_of_the_page(figure):
    text = plots.svg(figure, "Loss <1>", 'What "it" shows')
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Loss <1>. What "it" shows'
    assert plots.INK not in text
    assert "currentColor" in text
    assert "var(--series-1" in text
    assert "<b>" not in text


def test_two_figures_of_a_page_share_no_id(figure):
    ids = [re.findall(r'\bid="([^"]+)"', plots.svg(figure, title, "")) for title in ("one", "two")]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    assert len(ids[0]) == len(set(ids[0]))
    text = plots.svg(figure, "one", "")
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) <= set(ids[0])


def test_the_same_figure_gives_the_same_bytes(figure):
    assert plots.svg(figure, "a", "b") == plots.svg(figure, "a", "b")
    assert plots.markdown_image(figure, "a") == plots.markdown_image(figure, "a")


def test_markdown_image_is_a_small_png(figure):
    found = re.fullmatch(r"!\[alt\]\(data:image/png;base64,([^)]+)\)", plots.markdown_image(figure, "alt"))
    assert found
    png = base64.b64decode(found[1])
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000


def test_a_system_without_an_interval_is_still_drawn():
    board = pl.DataFrame(
        {"metric": ["N@10"] * 2, "system": ["a", "b"], "value": [0.1, 0.2], "low": [None, 0.1], "high": [None, 0.3]},
        schema_overrides={"low": pl.Float64, "high": pl.Float64},
    )
    text = plots.svg(plots.leaderboard_plot(board, "N@10"), "t", "d")
    assert ">a<" in text
    assert ">b<" in text


def test_a_corpus_of_many_decades_and_empty_rewards_are_drawn():
    decades = pl.DataFrame({"decade": list(range(1890, 2030, 10)), "movies": [10] * 14, "with_plot": [4] * 14})
    assert "1890s" in plots.svg(plots.corpus_by_decade(decades), "t", "d")
    rewards = pl.DataFrame(schema={"round": pl.Int64, "reward": pl.Float64})
    assert "sets" in plots.svg(plots.rewards_histogram(rewards), "t", "d")
