"""The report in a real browser: offline, without complaints, sorted by keyboard, on a narrow screen, in both themes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rar_pipeline.evaluation.report import render_report

from .made_up import inputs

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install one to test the report in a browser")
    with sync_api.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(inputs(conversations=12, movies=60, title="<script>document.title = 'taken'</script>")))
    return path


@pytest.fixture
def page(browser: "sync_api.Browser", report: Path) -> Iterator["sync_api.Page"]:
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, bypass_csp=False)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert said == []


def test_foreign_text_runs_nothing(page: "sync_api.Page") -> None:
    assert page.title().startswith("RAR report")
    assert page.locator(".example").first.is_visible()


def test_the_leaderboard_is_sorted_by_keyboard_and_says_so(page: "sync_api.Page") -> None:
    table = page.locator("#results ~ .scroll table").first
    header = table.locator("th", has_text="R@10").first
    values = lambda: [float(cell.get_attribute("data-value")) for cell in table.locator("tbody tr td:nth-child(3)").all()]  # noqa: E731
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    assert table.locator("th[aria-sort=ascending], th[aria-sort=descending]").count() == 1


def test_nothing_sticks_out_of_a_narrow_screen(page: "sync_api.Page") -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_it_follows_the_theme(page: "sync_api.Page") -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != light


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_to_complain_of(browser: "sync_api.Browser", report: Path, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = browser.new_context(offline=True, color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
