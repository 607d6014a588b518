import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from stream2llm_rag import ContextSourceError, ContextTimeoutError, Document
from stream2llm_rag.sources import ContextSource, merge
from stream2llm_rag.sources.web import CrawlReport, SkipReason, WebConfig, WebSource
from stream2llm_rag.sources.web._parsing import PageJob, parse_page
from tests.rag.sources.web.site import (
    Site,
    article,
    documents,
    fact,
    never,
    pdf,
    reasons,
    source,
)


async def test_a_page_becomes_a_clean_document(site: Site) -> None:
    site.page("/a", fact("Zorland"), "text/html; charset=utf-8")
    before = datetime.now(UTC).replace(microsecond=0)
    (document,) = await documents(source(site, [site.url("/a?utm_source=x#top")]))
    assert document.id == site.url("/a")
    assert "The capital of Zorland is Zorlandville" in document.text
    assert "Log in" not in document.text
    assert document.metadata["url"] == site.url("/a?utm_source=x")
    assert document.metadata["title"] == "Zorland"
    assert document.metadata["content_type"] == "text/html"
    assert before <= datetime.fromisoformat(document.metadata["fetched_at"]) <= datetime.now(UTC)
    assert "truncated" not in document.metadata


async def test_every_kind_of_page_is_read_and_others_are_not(site: Site) -> None:
    site.page("/html", fact("Html"))
    site.page("/xhtml", fact("Xhtml"), "application/xhtml+xml")
    site.page("/pdf", pdf("The king of Pdfland", "The queen of Pdfland"), "application/pdf")
    site.page("/text", "The anthem of Textland.", "text/plain")
    site.page("/markdown", "# Kings\n\nThe king of Markland.", "text/markdown; charset=UTF-8")
    site.page("/json", '{"capital": "Jsonville"}', "application/json")
    site.page("/untold", fact("Untold"), "application/octet-stream")
    site.page("/untold-pdf", pdf("The duke of Pdfland"), "application/octet-stream")
    site.page("/picture", b"\x89PNG", "image/png")
    site.page("/script", "capital = 1", "text/javascript")
    site.page("/anything", b"\x00\x01", "application/octet-stream")
    pages = source(site, [site.url(path) for path in site.answers], host_concurrency=4)
    by_path = {d.metadata["url"].removeprefix(site.url("")): d for d in await documents(pages)}
    texts = {path: document.text for path, document in by_path.items()}
    assert "Htmlville" in texts.pop("/html")
    assert "Xhtmlville" in texts.pop("/xhtml")
    assert "Untoldville" in texts.pop("/untold")
    assert texts == {
        "/pdf": "The king of Pdfland\n\nThe queen of Pdfland",
        "/text": "The anthem of Textland.",
        "/markdown": "# Kings\n\nThe king of Markland.",
        "/json": '{"capital": "Jsonville"}',
        "/untold-pdf": "The duke of Pdfland",
    }
    assert reasons(pages) == {
        "/picture": "unsupported",
        "/script": "unsupported",
        "/anything": "unsupported",
    }


async def test_pages_come_as_they_land(site: Site) -> None:
    second = asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        await second.wait()
        return web.Response(text=fact("Late"), content_type="text/html")

    site.answers["/late"] = late
    site.page("/soon", fact("Soon"))
    stream = source(site, [site.url("/late"), site.url("/soon")]).stream("q")
    first = await anext(stream)
    assert "Soonville" in first.documents[0].text
    second.set()
    assert "Lateville" in (await anext(stream)).documents[0].text
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def url_list(site: Site) -> Any:
    return [site.url("/a"), site.url("/b")]


def sync_search(site: Site) -> Any:
    return lambda query: [site.url(f"/{letter}") for letter in query]


def sync_generator(site: Site) -> Any:
    def search(query: str) -> Iterator[str]:
        yield from url_list(site)

    return search


def async_search(site: Site) -> Any:
    async def search(query: str) -> list[Document]:
        return [Document(id=url, text="", metadata={"url": url}) for url in url_list(site)]

    return search


def async_generator(site: Site) -> Any:
    async def search(query: str) -> AsyncIterator[str]:
        for url in url_list(site):
            yield url

    return search


def other_source(site: Site) -> Any:
    class Search:
        def stream(self, query: str) -> AsyncIterator[str]:
            found: AsyncIterator[str] = async_generator(site)(query)
            return found

    return Search()


@pytest.mark.parametrize(
    "make",
    [url_list, sync_search, sync_generator, async_search, async_generator, other_source],
)
async def test_any_search_finds_pages(site: Site, make: Any) -> None:
    site.page("/a", fact("Aland"))
    site.page("/b", fact("Bland"))
    found = await documents(source(site, make(site)), "ab")
    assert {document.metadata["title"] for document in found} == {"Aland", "Bland"}


async def test_snippets_come_before_their_pages(site: Site) -> None:
    def search(query: str) -> list[Document]:
        metadata = {"url": site.url("/a"), "title": "From the search", "rank": 1}
        return [Document(id="hit", text=f"About {query}.", score=0.5, metadata=metadata)]

    site.page("/a", "The anthem of Zorland.", "text/plain")
    snippet, page = await documents(source(site, search), "Zorland")
    assert (snippet.id, snippet.text) == ("hit#snippet", "About Zorland.")
    assert (page.id, page.text, page.score) == (site.url("/a"), "The anthem of Zorland.", 0.5)
    assert (page.metadata["title"], page.metadata["rank"]) == ("From the search", 1)
    (only,) = await documents(source(site, search, snippets=False), "Zorland")
    assert only.id == page.id


async def test_a_snippet_is_better_than_no_page(site: Site) -> None:
    url = site.url("/gone")
    pages = source(site, lambda query: [Document(id="hit", text="Hit.", metadata={"url": url})])
    (snippet,) = await documents(pages)
    assert snippet.text == "Hit."
    assert snippet.metadata == {"url": url, "title": ""}
    assert reasons(pages) == {"/gone": "status"}


async def test_nothing_found_is_not_an_error(site: Site) -> None:
    pages = source(site, lambda query: [])
    assert pages.report is None
    assert await documents(pages, "Who?") == []
    assert pages.report == CrawlReport(query="Who?")


async def test_one_failing_page_is_a_warning(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.page("/a", fact("Aland"))
    pages = source(site, [site.url("/a"), site.url("/gone")])
    with caplog.at_level(logging.INFO, "stream2llm_rag"):
        (document,) = await documents(pages, "Who?")
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == f"page {site.url('/gone')} is skipped: status: HTTP 404"
    report = pages.report
    assert report is not None
    assert report.query == "Who?"
    (fetched,), (skipped,) = report.fetched, report.skipped
    assert (fetched.url, fetched.document_id) == (site.url("/a"), document.id)
    assert (skipped.reason, skipped.detail) == (SkipReason.STATUS, "HTTP 404")
    assert skipped.document_id is None
    assert 0 < skipped.seconds < 30


async def test_only_failing_pages_are_an_error(site: Site) -> None:
    pages = source(site, [site.url(f"/gone{number}") for number in range(7)])
    with pytest.raises(ContextSourceError, match=r"none of 7 pages .*HTTP 404.*and 2 more"):
        await documents(pages)


async def test_a_failing_search_is_an_error(site: Site) -> None:
    site.page("/a", fact("Aland"))

    def search(query: str) -> Iterator[str]:
        yield site.url("/a")
        raise ConnectionError("index is down")

    with pytest.raises(ContextSourceError, match="index is down"):
        await documents(source(site, search))


async def warm_up() -> None:
    """Starts a parser, which may take longer than a test's time limit."""
    job = PageJob(kind="text", url="http://site.test/", max_pdf_pages=1)
    assert (await parse_page(job, b"text", timeout_s=60.0)).text == "text"


async def test_the_time_limit_ends_with_what_landed(site: Site) -> None:
    site.page("/a", fact("Aland"))
    site.answers["/hangs"] = never
    await warm_up()
    pages = source(site, [site.url("/hangs"), site.url("/a")], timeout_s=1.0)
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Aland"
    assert reasons(pages) == {"/hangs": "deadline"}
    nothing = source(site, [site.url("/hangs")], timeout_s=0.1)
    with pytest.raises(ContextTimeoutError, match="hangs: deadline"):
        await documents(nothing)
    await site.idle()


async def test_a_page_that_landed_counts_however_slow_the_consumer_is(site: Site) -> None:
    site.page("/a", fact("Aland"))
    site.page("/b", fact("Bland"))
    await warm_up()
    stream = source(site, [site.url("/a"), site.url("/b")], timeout_s=1.0).stream("q")
    await anext(stream)
    await asyncio.sleep(1.1)
    await anext(stream)


async def break_out(pages: WebSource) -> None:
    stream = pages.stream("q")
    await anext(stream)
    await stream.aclose()


async def cancel(pages: WebSource) -> None:
    task = asyncio.create_task(documents(pages))
    while pages.report is None or not pages.report.fetched:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def drop(pages: WebSource) -> None:
    stream = pages.stream("q")
    await anext(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("stop", [break_out, cancel, drop])
async def test_a_consumer_that_stops_closes_everything(site: Site, stop: Any) -> None:
    site.page("/a", fact("Aland"))
    site.answers["/hangs"] = never
    before = asyncio.all_tasks()
    urls = [site.url("/a"), site.url("/hangs"), site.url("/hangs?again")]
    pages = source(site, urls, host_concurrency=3)
    await stop(pages)
    # The server's own tasks end when their connections do.
    await site.idle()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before
    assert reasons(pages) == {"/hangs": "stopped", "/hangs?again": "stopped"}


async def test_questions_at_once_do_not_disturb_each_other(site: Site) -> None:
    for letter in "abcdef":
        site.page(f"/{letter}", fact(f"{letter.upper()}land"))
    pages = source(site, sync_search(site))
    first, second = await asyncio.gather(documents(pages, "abc"), documents(pages, "def"))
    assert {document.metadata["title"] for document in first} == {"Aland", "Bland", "Cland"}
    assert {document.metadata["title"] for document in second} == {"Dland", "Eland", "Fland"}


async def test_it_is_a_source_like_any_other(site: Site) -> None:
    site.page("/a", fact("Aland"))
    pages: ContextSource = source(site, [site.url("/a")])
    assert isinstance(pages, ContextSource)
    assert len(await documents(merge(pages, source(site, [site.url("/a")])))) == 1


def test_what_is_no_search_or_no_configuration_is_refused() -> None:
    with pytest.raises(TypeError, match="not a retriever"):
        WebSource("https://example.org")
    with pytest.raises(ValidationError, match="max_pages"):
        WebConfig(max_pages=0)
    with pytest.raises(ValidationError, match="user_agent"):
        WebConfig(user_agent="two\r\nlines")
    with pytest.raises(ValidationError, match="frozen"):
        WebConfig().max_pages = 3  # type: ignore[misc]


async def test_the_wrong_extra_characters_are_no_problem(site: Site) -> None:
    site.page("/ä ö", article("The river of Umlaut is the Ärmel, as everybody knows."))
    (document,) = await documents(source(site, [f" {site.url('/ä ö')} \n"]))
    assert "Ärmel" in document.text
