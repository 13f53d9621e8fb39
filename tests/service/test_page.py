"""The chat page in a real browser, by keyboard alone, against the real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rar_pipeline.service.champion import Champion
from rar_pipeline.service.feedback import gather

from .conftest import WRITING, Writer, served

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import Error, sync_playwright

    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: install Chromium to test the page")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, wide; whatever a browser complains of (a script, the Content-Security-Policy) fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = opened(context, address)
    yield page
    assert page.complaints == []
    context.close()


def holds(page: Any, selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element holds a text. `wait_for_function` would evaluate words in the page, which its policy forbids where it has to wait."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=30_000)


def opened(context: Any, address: str) -> Any:
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    holds(page, "#who", "movies")
    return page


def test_a_conversation_by_keyboard_links_titles_shows_cards_and_keeps_opinions(page: Any, kept: Path) -> None:
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.type("I loved Heat (1995), and also loved Vertgio")
    page.get_by_role("button", name="Vertigo (1958)").wait_for()
    assert page.locator("#titles .sure").all_inner_texts() == ["✓ Heat (1995)\n×"]
    # up to the titles found, along to the one that is offered, take it
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Vertigo (1958)"
    page.keyboard.press("Enter")
    assert page.locator("#words").input_value() == "I loved Heat (1995), and also loved Vertigo (1958)"
    page.locator("#titles .sure").nth(1).wait_for()
    holds(page, "#news", "Vertigo")
    page.keyboard.press("Enter")
    page.locator(".card").nth(9).wait_for()
    assert page.locator(".turn.seeker .chip").all_inner_texts() == ["✓ Heat (1995)", "✓ Vertigo (1958)"]
    assert page.locator(".card .why li").count() >= 10
    holds(page, "#news", re.compile("^10 recommendations"))

    first = page.locator(".card").first
    title, movie = first.locator(".title").inner_text(), first.get_attribute("data-movie")
    with page.expect_response("**/api/feedback") as response:
        first.get_by_role("button", name="Like", exact=True).press("Space")
        page.locator(".card").nth(1).get_by_role("button", name="Dislike").press("Enter")
    assert response.value.json()["mentions"] == 4
    assert first.get_by_role("button", name="Like", exact=True).get_attribute("aria-pressed") == "true"
    assert first.get_by_role("group").get_attribute("aria-label").startswith(f"What you think of {title}")
    name = json.loads(response.value.request.post_data)["conversation_id"]
    cases = gather(kept)[2].filter(pl.col("dialogue_id") == name)
    assert movie in cases["targets"].to_list()[-1]
    assert len(cases["disliked"].to_list()[-1]) == 1

    page.locator("#words").press_sequentially("More")
    page.keyboard.press("Enter")
    page.locator(".card").nth(19).wait_for()
    again = [card.get_attribute("data-movie") for card in page.locator(".card").all()[10:]]
    assert movie not in again


def test_what_others_wrote_is_shown_as_text(champion: Champion, browser: Any) -> None:
    writer = Writer(lambda prompt: "<img src=x onerror=document.title='owned'>\n1. Vertigo (1958)\n2. <b>No</b> Such Film (2077)")
    with served(champion, model=WRITING, transport=writer.transport) as address:
        context = browser.new_context()
        page = opened(context, address)
        page.locator("#words").fill("<script>document.title='owned'</script> I loved Heat (1995)")
        page.keyboard.press("Enter")
        page.locator(".note").wait_for()
        assert page.locator(".card .title").first.inner_text() == "Vertigo"
        assert page.locator(".turn.recommender .words").inner_text().startswith("<img src=x")
        assert page.locator(".turn.seeker .words").inner_text().startswith("<script>")
        assert "1 of its titles" in page.locator(".note").inner_text()
        assert page.title() == "What shall I watch?"
        assert page.complaints == []
        context.close()


def test_a_service_that_went_away_gives_the_message_back(champion: Champion, browser: Any) -> None:
    context = browser.new_context()
    with served(champion) as address:
        page = opened(context, address)
    page.locator("#words").fill("I loved Heat (1995)")
    page.keyboard.press("Enter")
    page.locator(".note.failed").wait_for()
    assert page.locator("#words").input_value() == "I loved Heat (1995)"
    assert page.get_by_role("button", name="Send").is_enabled()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_scrolling_sideways_and_can_be_read(browser: Any, address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 340, "height": 640}, color_scheme=scheme, has_touch=True)
    page = opened(context, address)
    page.locator("#words").fill(
        "I loved Heat (1995), Casablanca (1942) and Alien (1979), and averyveryveryveryverylongwordthatneverends please"
    )
    page.locator("#titles .sure").nth(2).wait_for()
    page.keyboard.press("Enter")
    page.locator(".card").nth(9).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 340
    assert page.evaluate("[...document.querySelectorAll('.card')].every((card) => card.scrollWidth <= card.clientWidth + 1)")
    assert page.evaluate("document.querySelector('#composer').getBoundingClientRect().bottom") <= 640
    # WCAG AA: 4.5 to 1 for text
    contrast = """() => {
      const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (colour) => rgb(colour).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const behind = (node) => { const own = getComputedStyle(node).backgroundColor; return rgb(own)[3] === 0 ? behind(node.parentElement) : own; };
      const texts = [...document.querySelectorAll('.title, .year, .genres, .people, .plot, .why li, .words, .chip, button, #keys, #who')];
      return Math.min(...texts.filter((node) => node.checkVisibility())
        .map((node) => [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a)).map(([a, b]) => (a + .05) / (b + .05)));
    }"""
    assert page.evaluate(contrast) >= 4.5
    context.close()
