"""The page in a real browser, with a report whose texts are hostile: Chromium, where there is one."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from page_helpers import HOSTILE, full
from ragdistill.report import html, schema
from report_helpers import state

pytestmark = pytest.mark.e2e

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH_OF_A4 = round((210 - 2 * 14) / 25.4 * 96)  # CSS pixels between the page's margins
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.blockedURI));
"""


@dataclass
class Opened:
    """A loaded page, and what happened meanwhile."""

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("violations")
        return found


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        found = next(filter(None, map(shutil.which, NAMES)), str(own) if own.exists() else None)
        if found is None:
            pytest.skip("no Chromium here")
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the page from its file, with no network, in a context of the options given."""
    file = tmp_path / "report.html"
    file.write_text(html.render(full(), extra=schema.extra(state())), encoding="utf-8")
    contexts = []

    def open_page(**options: Any) -> Opened:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        context.add_init_script(VIOLATIONS)
        seen = Opened(context.new_page(), file.as_uri())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on(
            "console",
            lambda said: seen.errors.append(said.text) if said.type != "log" else None,
        )
        seen.page.goto(seen.url, wait_until="load")
        return seen

    yield open_page
    for context in contexts:
        context.close()


def column(table: Locator, heading: str) -> list[str]:
    """The texts of a column of a table, from top to bottom."""
    heads = [head.strip() for head in table.locator("thead th").all_inner_texts()]
    place = next(i for i, head in enumerate(heads, start=1) if head.startswith(heading))
    return table.locator(f"tbody tr > :nth-child({place})").all_inner_texts()


def figures(texts: list[str]) -> list[float]:
    return [float(re.sub(r"[^\d.].*", "", text.replace(",", ""))) for text in texts]


def test_it_loads_alone_and_nothing_is_wrong(opened: Open) -> None:
    seen = opened()
    assert seen.requests == [seen.url]
    assert seen.errors == []
    assert seen.violations() == []
    assert "report" in seen.page.title()
    asked = seen.page.locator("#worst .asked").all_text_contents()
    assert asked == list(HOSTILE.values())


def test_no_other_script_would_run(opened: Open) -> None:
    """What the policy is for, should an escape ever be forgotten."""
    seen = opened()
    seen.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "document.title = 'run'";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\\"document.title='run'\\">");
        }"""
    )
    seen.page.wait_for_function("violations.length >= 2")
    assert seen.page.title() != "run"


def test_tables_sort_by_click_and_by_key(opened: Open) -> None:
    page = opened().page
    table = page.locator("#speed table")
    before = column(table, "System")
    button = table.get_by_role("button", name="p95 ms")
    head = table.locator("th", has=page.get_by_role("button", name="p95 ms"))
    button.click()
    rising = figures(column(table, "p95"))
    assert rising == sorted(rising)
    assert column(table, "System") == before[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    button.focus()
    page.keyboard.press("Enter")
    assert column(table, "System") == before
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert column(table, "System") == before
    assert head.get_attribute("aria-sort") is None
    table.get_by_role("button", name="System").click()
    assert column(table, "System") == sorted(before)
    assert head.get_attribute("aria-sort") is None


def test_numbers_sort_as_numbers_and_unknown_comes_last(opened: Open) -> None:
    page = opened().page
    lengths = page.locator("#prefixes table")
    lengths.get_by_role("button", name="Dimensions").click()
    assert column(lengths, "Dimensions") == ["60", "64", "128", "256", "384"]
    stages = page.locator("#stages table")
    stages.get_by_role("button", name="Time").click()
    assert column(stages, "Stage") == ["export", "evaluate", "collect", "train"]
    groups = page.locator("#groups table")
    for _ in range(2):
        groups.get_by_role("button", name="Kept").click()
        assert column(groups, "Kept")[-1] == "\N{EN DASH}"
    assert figures(column(groups, "Kept")[:-1]) == [101, 99, 99, 98, 97]


def test_it_is_whole_without_javascript(opened: Open) -> None:
    page = opened(java_script_enabled=False).page
    assert page.locator("button").count() == 0
    assert column(page.locator("#prefixes table"), "Dimensions")[0] == "384"
    second = page.locator("#worst details").nth(1)
    assert not second.locator(".ranked").first.is_visible()
    second.locator("summary").click()
    assert second.locator(".ranked").first.is_visible()


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_screen(opened: Open, width: int) -> None:
    page = opened(viewport={"width": width, "height": 740}).page
    page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """(width) => [...document.querySelectorAll("main *")]
          .filter((each) => !each.closest(".scroll, pre, svg"))
          .filter((each) => each.getBoundingClientRect().right > width)
          .map((each) => each.className || each.tagName)""",
        width,
    )
    assert wide == []


def test_the_dark_is_for_screens_alone(opened: Open) -> None:
    page = opened(color_scheme="dark").page
    ink = "getComputedStyle(document.body).color"
    dark = page.evaluate(ink)
    page.emulate_media(media="print", color_scheme="dark")
    printed = page.evaluate(ink)
    page.emulate_media(media="screen", color_scheme="light")
    assert printed == page.evaluate(ink) != dark


def test_paper_has_whole_tables_and_the_worst_five(opened: Open) -> None:
    page = opened(viewport={"width": WIDTH_OF_A4, "height": 1000}).page
    page.emulate_media(media="print")
    cut = """[...document.querySelectorAll("main, .scroll, pre")]
      .filter((each) => each.scrollWidth > each.clientWidth).length"""
    assert page.evaluate(cut) == 0
    shown = [each.is_visible() for each in page.locator("#worst .asked").all()]
    assert shown == [True] * 5 + [False] * (len(HOSTILE) - 5)
    heights = [each.bounding_box() for each in page.locator("#worst .ranked").all()[:10]]
    assert all(box and box["height"] > 20 for box in heights)
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 1 < printed.count(b"/Type /Page\n") < 15
