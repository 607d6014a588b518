"""The app's page in a real browser, on a real server and the shipped reader."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.examples.fastapi_app.served import ANSWER, Broken, answering_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.examples.fastapi_app.served import Gated, Served

CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=60_000)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: run `make browser`"),
]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page(served: Served, tmp_path: Path) -> AsyncIterator[Page]:
    """The page in a browser of its own."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=ARGUMENTS
        )
        page = context.pages[0]
        await page.goto(served.url)
        yield page
        await context.close()


async def test_documents_show_before_the_answer(page: Page, gated: Gated) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.get_by_role("button", name="Ask").click()
    documents, answer = page.locator("#documents li"), page.locator("#answer")
    prefilled = page.locator("#prefilled")
    # What documents say is text, not markup.
    await expect(documents).to_have_text([re.compile(r"^Quen: The capital of <b>Quen</b> is")])
    await expect(prefilled).to_have_text(re.compile(r"^(\d+) of \d+ tokens computed$"))
    await expect(prefilled).not_to_have_text(re.compile("^0 "))
    await expect(answer).to_be_empty()
    gated.go_on.set()
    await expect(answer).to_have_text(ANSWER)
    await expect(documents).to_have_count(2)
    await expect(prefilled).to_have_text(re.compile(r"^(\d+) of \1 tokens computed$"))
    await expect(page.locator("#figures")).to_have_text(
        re.compile(r"^\d+ of \d+ prompt tokens were computed before .* began \d\.\d+ s after that")
    )
    await expect(page.locator("#error")).to_be_empty()
    assert said == []


async def test_stop_ends_the_session(page: Page, served: Served, gated: Gated) -> None:
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator("#documents li")).to_have_count(1)
    stop = page.get_by_role("button", name="Stop")
    await stop.click()
    await expect(stop).to_be_disabled()
    await page.wait_for_function(
        "async () => (await (await fetch('stats')).json()).open_sessions === 0"
    )
    assert gated.ended.wait(30)
    await expect(page.locator("#error")).to_be_empty()


async def test_errors_show_with_their_types(page: Page) -> None:
    error = page.get_by_role("alert")
    with answering_from(Broken()):
        await page.get_by_role("button", name="Ask").click()
        await expect(error).to_have_text(re.compile("^ContextSourceError .*OSError: no more"))
    await page.get_by_label("Question").fill("Who are you?")
    await page.get_by_role("button", name="Ask").click()
    await expect(error).to_have_text(re.compile("^question_of_another_kind ask for the X of Y"))
    await expect(page.locator("#documents li")).to_have_count(0)
