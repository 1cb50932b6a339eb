"""The page in a real browser, with a report whose texts are hostile: Chromium, where there is one."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from page_helpers import HOSTILE, full
from rag_helpers import fake_parts
from ragdistill.rag.explorer import FILE
from ragdistill.report import html, schema
from report_helpers import state
from stacks_helpers import NAME, compared

pytestmark = pytest.mark.e2e

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH_OF_A4 = round((210 - 2 * 14) / 25.4 * 96)  # CSS pixels between the page's margins
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.blockedURI));
"""
CUT = """[...document.querySelectorAll("main, .scroll, pre")]
  .filter((each) => each.scrollWidth > each.clientWidth).length"""
"""How many boxes have more in them than paper shows."""


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
    """Open the page of a component from its file, with no network, in a context of the options given."""
    file = tmp_path / "report.html"
    file.write_text(html.render(full(), extra=schema.extra(state())), encoding="utf-8")
    with opening(browser, file) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def run(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stacks compared on hostile texts."""
    folder = tmp_path_factory.mktemp("stacks")
    with fake_parts():
        compared(folder)
    return folder / "run"


@pytest.fixture
def stacks(browser: Browser, run: Path) -> Iterator[Open]:
    """Open the page of the two stacks in the same way."""
    with opening(browser, run / "report.html") as open_page:
        yield open_page


@contextmanager
def opening(browser: Browser, file: Path) -> Iterator[Open]:
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
def test_nothing_is_wider_than_the_screen(opened: Open, stacks: Open, width: int) -> None:
    for page in (each(viewport={"width": width, "height": 740}).page for each in (opened, stacks)):
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
    assert page.evaluate(CUT) == 0
    shown = [each.is_visible() for each in page.locator("#worst .asked").all()]
    assert shown == [True] * 5 + [False] * (len(HOSTILE) - 5)
    heights = [each.bounding_box() for each in page.locator("#worst .ranked").all()[:10]]
    assert all(box and box["height"] > 20 for box in heights)
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 1 < printed.count(b"/Type /Page\n") < 15


def shown(page: Page) -> list[tuple[str | None, str | None]]:
    """Outcome and part of the queries that the explorer shows, from top to bottom."""
    entries = [each for each in page.locator("#queries details").all() if each.is_visible()]
    return [
        (each.get_attribute("data-outcome"), each.get_attribute("data-part")) for each in entries
    ]


def told(page: Page) -> str:
    text: str = page.locator("#queries output").inner_text()
    return text


def test_two_stacks_load_alone_and_nothing_is_wrong(stacks: Open, tmp_path: Path) -> None:
    seen = stacks()
    assert seen.requests == [seen.url]
    assert seen.errors == []
    assert seen.violations() == []
    assert seen.page.title() == f"{NAME} \N{MIDDLE DOT} ragdistill report"
    assert seen.page.locator("main section").first.get_attribute("id") == "verdict"
    assert (
        seen.page.locator(".heat td:not(:empty)").count() == 16 * seen.page.locator(".heat").count()
    )
    taken = seen.page.screenshot(path=tmp_path / "page.png")
    assert taken.startswith(b"\x89PNG")


def test_queries_are_filtered_by_outcome_and_part(stacks: Open, run: Path) -> None:
    page = stacks().page
    rows = [json.loads(line) for line in (run / FILE).read_text().splitlines()]
    everything = [(row["outcome"], row["part"] or "") for row in rows]
    assert shown(page) == everything
    for outcome in ("lost", "won", "same"):
        page.get_by_label("Outcome").select_option(outcome)
        expected = [each for each in everything if each[0] == outcome]
        assert sorted(shown(page)) == sorted(expected)
        assert told(page) == f"{len(expected)} of {len(rows)}"
    page.get_by_label("Outcome").select_option("lost")
    page.get_by_label("Part").select_option("embedder")
    assert set(shown(page)) == {("lost", "embedder")}
    page.get_by_label("Outcome").select_option("won")
    assert shown(page) == []
    assert told(page) == f"0 of {len(rows)}"


def test_texts_are_searched_and_the_order_is_chosen(stacks: Open, run: Path) -> None:
    page = stacks().page
    search = page.get_by_label("Search")
    search.fill("ONERROR <img")
    assert 0 < len(shown(page)) < 30
    for entry in page.locator("#queries details:visible").all():
        text = (entry.text_content() or "").casefold()
        assert "onerror" in text
        assert "<img" in text
    search.fill("no such text anywhere")
    assert shown(page) == []
    search.fill("")
    page.get_by_label("Order").select_option("most won first")
    outcomes = [outcome for outcome, _ in shown(page)]
    assert outcomes == sorted(outcomes, key=lambda each: ("won", "same", "lost").index(each or ""))
    page.get_by_label("Order").select_option("by question")
    asked = page.locator("#queries .asked").all_text_contents()
    page.get_by_label("Order").select_option("most lost first")
    assert sorted(asked) == sorted(page.locator("#queries .asked").all_text_contents())
    assert shown(page)[0][0] == "lost"


def test_cells_sort_and_a_query_opens(stacks: Open) -> None:
    page = stacks().page
    table = page.locator("#cells .scroll table")
    table.get_by_role("button", name="F1", exact=True).click()
    rising = figures(column(table, "F1"))
    assert rising == sorted(rising)
    assert len(rising) == 16
    entry = page.locator("#queries details").nth(1)
    assert not entry.locator(".trail").is_visible()
    entry.locator("summary").click()
    assert entry.locator(".trail .fault").is_visible()
    assert entry.locator(".trail li").count() == 4


def test_two_stacks_are_whole_without_javascript(stacks: Open) -> None:
    page = stacks(java_script_enabled=False).page
    assert not page.locator(".explore").is_visible()
    assert len(shown(page)) == 30


def test_paper_has_the_matrix_and_the_first_five_that_were_looked_for(stacks: Open) -> None:
    page = stacks(viewport={"width": WIDTH_OF_A4, "height": 1000}).page
    page.get_by_label("Outcome").select_option("won")
    page.emulate_media(media="print")
    assert page.evaluate(CUT) == 0
    assert len(shown(page)) == min(5, page.locator("#queries details[data-outcome=won]").count())
    assert {outcome for outcome, _ in shown(page)} == {"won"}
    printed = page.pdf(format="A4")
    assert 1 < printed.count(b"/Type /Page\n") < 20
