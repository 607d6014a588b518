from typing import Any

import pytest

from stream2llm_rag.sources.web import SkipReason
from tests.rag.sources.web.site import Site, article, documents, fact, never, reasons, source


def words(text: str) -> int:
    return len(text.split())


async def test_one_page_under_several_urls_is_asked_for_once(site: Site) -> None:
    site.page("/a", fact("Aland"))
    site.redirect("/other", "/a")
    urls = [site.url(path) for path in ("/a", "/a#part", "/a?utm_source=x", "/other")]
    pages = source(site, urls)
    assert len(await documents(pages)) == 1
    assert reasons(pages) == {
        "/a#part": "duplicate",
        "/a?utm_source=x": "duplicate",
        "/other": "duplicate",
    }
    assert site.paths().count("/a") == 1


async def test_pages_that_say_the_same_count_once(site: Site) -> None:
    story = [f"In year {year} the council of Zorland met {year % 7} times." for year in range(50)]
    site.page("/a", article(*story))
    site.page("/mirror", article(*story, "Printed version."))
    site.page("/other", article(*(line.replace("council", "crew of the ship") for line in story)))
    urls = [site.url(path) for path in ("/a", "/mirror", "/other")]
    pages = source(site, urls, concurrency=1)
    assert len(await documents(pages)) == 2
    assert list(reasons(pages).values()) == ["duplicate"]
    assert len(await documents(source(site, urls, similarity=1.0))) == 3


async def test_a_long_page_is_cut(site: Site) -> None:
    site.page("/a", "One two three. " * 100, "text/plain")
    pages = source(site, [site.url("/a")], measure=words, max_document_size=10)
    (document,) = await documents(pages)
    assert document.text == "One two three. One two three. One two three."
    assert document.metadata["truncated"] is True


async def test_the_crawl_ends_when_the_context_is_full(site: Site) -> None:
    for number in range(3):
        text = f"Page {number} has five words. " * 10
        site.page(f"/{number}", text, "text/plain")
    site.answers["/never"] = never
    urls = [site.url("/never", "slow.test"), *(site.url(f"/{number}") for number in range(3))]
    limits: dict[str, Any] = {"max_document_size": 20, "max_total_size": 50, "measure": words}
    pages = source(site, urls, similarity=1.0, **limits)
    found = await documents(pages)
    assert [words(document.text) for document in found] == [20, 20, 10]
    assert [document.metadata.get("truncated") for document in found] == [True] * 3
    assert reasons(pages) == {"/never": "budget"}
    await site.idle()


async def test_a_page_that_does_not_fit_ends_the_crawl(site: Site) -> None:
    site.page("/a", "One two three.", "text/plain")
    site.page("/b", "four five six seven", "text/plain")
    urls = [site.url("/a"), site.url("/b")]
    pages = source(site, urls, concurrency=1, measure=words, max_total_size=5)
    (document,) = await documents(pages)
    assert document.text == "One two three."
    assert reasons(pages) == {"/b": "budget"}


async def test_more_pages_than_wanted_are_left_out(site: Site) -> None:
    for letter in "abc":
        site.page(f"/{letter}", fact(letter.upper()))
    urls = [site.url(path) for path in ("/a", "/a#twice", "/b", "/c", "/never")]
    pages = source(site, urls, max_pages=2)
    assert len(await documents(pages)) == 2
    assert reasons(pages) == {"/a#twice": "duplicate", "/c": "limit"}


def linking(name: str, *links: str) -> str:
    anchors = "".join(f"<a href='{link}'>see also</a> " for link in links)
    return fact(name).replace("</article>", f"<p>{anchors}</p></article>")


@pytest.mark.parametrize(
    ("depth", "titles"),
    [(0, {"Start"}), (1, {"Start", "One"}), (2, {"Start", "One", "Two"})],
)
async def test_links_are_followed_within_the_host(site: Site, depth: int, titles: Any) -> None:
    elsewhere = site.url("/elsewhere", "other.test")
    site.page("/", linking("Start", "one", "/#top", elsewhere, "mailto:a@b.test", "http://["))
    site.page("/one", linking("One", "/", "two?utm_source=x", "/not' rel='nofollow"))
    site.page("/two", linking("Two", "/three"))
    for path in ("/three", "/not", "/elsewhere"):
        site.page(path, fact(path.strip("/").title()))
    pages = source(site, [site.url("/")], follow_depth=depth)
    found = await documents(pages)
    assert {document.metadata["title"] for document in found} == titles
    # From the navigation.
    assert reasons(pages) == ({"/login": "status"} if depth else {})


async def test_followed_links_count_as_pages(site: Site) -> None:
    site.page("/", linking("Start", *(f"/{number}" for number in range(20))))
    for number in range(20):
        site.page(f"/{number}", fact(f"N{number}"))
    pages = source(site, [site.url("/")], follow_depth=1, max_pages=4, host_concurrency=8)
    assert len(await documents(pages)) == 3
    assert reasons(pages) == {"/login": "status"}
    assert len(site.paths()) == 4


async def test_anything_unforeseen_costs_one_page(site: Site) -> None:
    def measure(text: str) -> int:
        if "Aland" in text:
            raise RuntimeError("no tokens for this")
        return len(text)

    site.page("/a", fact("Aland"))
    site.page("/b", fact("Bland"))
    pages = source(site, [site.url("/a"), site.url("/b")], measure=measure)
    assert len(await documents(pages)) == 1
    assert pages.report is not None
    (skipped,) = pages.report.skipped
    assert skipped.reason is SkipReason.FAILED
    assert "no tokens for this" in skipped.detail
