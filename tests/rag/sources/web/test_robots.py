import asyncio

import pytest
from aiohttp import web

from stream2llm_rag import ContextSourceError
from tests.rag.sources.web.site import Site, documents, fact, reasons, source

ROBOTS = """
User-agent: *
Disallow: /private/
Crawl-delay: 0.2

User-agent: polite
Disallow: /
Allow: /open
"""


async def test_what_robots_txt_disallows_is_not_asked_for(site: Site) -> None:
    site.page("/robots.txt", ROBOTS, "text/plain")
    site.page("/private/a", fact("Aland"))
    site.page("/open", fact("Open"))
    urls = [site.url("/private/a"), site.url("/open")]
    pages = source(site, urls)
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Open"
    assert reasons(pages) == {"/private/a": "robots"}
    assert site.paths() == ["/open"]


async def test_the_group_of_the_user_agent_counts(site: Site) -> None:
    site.page("/robots.txt", ROBOTS, "text/plain")
    site.page("/a", fact("Aland"))
    site.page("/open", fact("Open"))
    urls = [site.url("/a"), site.url("/open")]
    pages = source(site, urls, user_agent="Polite/2.0 (+https://example.org/bot)")
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Open"
    assert reasons(pages) == {"/a": "robots"}


async def test_robots_txt_need_not_be_asked(site: Site) -> None:
    site.page("/robots.txt", ROBOTS, "text/plain")
    site.page("/private/a", fact("Aland"))
    assert len(await documents(source(site, [site.url("/private/a")], respect_robots=False))) == 1
    assert ("site.test", "/robots.txt") not in [asked[:2] for asked in site.asked]


async def test_robots_txt_is_asked_once_per_origin(site: Site) -> None:
    site.page("/robots.txt", ROBOTS.replace("0.2", "0"), "text/plain")
    for letter in "abcd":
        site.page(f"/{letter}", fact(letter.upper()))
    hosts = ["one.test", "one.test", "two.test", "one.test"]
    urls = [site.url(f"/{path}", host) for path, host in zip("abcd", hosts, strict=True)]
    pages = source(site, urls)
    for _ in range(2):
        assert len(await documents(pages)) == 4
    robots = sorted(host for host, path, _ in site.asked if path == "/robots.txt")
    assert robots == ["one.test", "two.test"]


async def test_a_crawl_delay_counts_if_it_is_longer(site: Site) -> None:
    site.page("/robots.txt", ROBOTS, "text/plain")
    site.page("/a", fact("Aland"))
    site.page("/b", fact("Bland"))
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert len(await documents(source(site, [site.url("/a"), site.url("/b")]))) == 2
    assert loop.time() - start >= 0.2


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False)])
async def test_no_robots_txt_and_a_broken_one(site: Site, status: int, *, allowed: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="User-agent: *\nDisallow: /")

    site.answers["/robots.txt"] = answer
    site.page("/a", fact("Aland"))
    pages = source(site, [site.url("/a")])
    if allowed:
        assert len(await documents(pages)) == 1
    else:
        with pytest.raises(ContextSourceError, match=r"robots\.txt: HTTP 500"):
            await documents(pages)
        assert site.paths() == []


async def test_a_redirected_robots_txt_counts(site: Site) -> None:
    site.redirect("/robots.txt", site.url("/rules.txt", "other.test"))
    site.page("/rules.txt", "User-agent: *\nDisallow: /", "text/plain")
    site.page("/a", fact("Aland"))
    pages = source(site, [site.url("/a")])
    with pytest.raises(ContextSourceError, match="disallows"):
        await documents(pages)


async def test_rules_are_asked_for_every_redirect(site: Site) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /closed", "text/plain")
    site.redirect("/a", "/closed")
    site.page("/closed", fact("Closed"))
    pages = source(site, [site.url("/a")])
    with pytest.raises(ContextSourceError, match="robots"):
        await documents(pages)
    assert site.paths() == ["/a"]


async def test_a_hostile_robots_txt_is_stopped(site: Site) -> None:
    lines = [f"user-agent: a{n}" for n in range(8000)] + [f"disallow: /{n}" for n in range(8000)]
    site.page("/robots.txt", "\n".join(lines), "text/plain")
    site.page("/a", fact("Aland"))
    pages = source(site, [site.url("/a")], parse_timeout_s=0.3)
    with pytest.raises(ContextSourceError, match="not parsed within"):
        await documents(pages)


async def test_rules_far_behind_do_not_count(site: Site) -> None:
    filler = "# nothing\n" * 60_000
    site.page("/robots.txt", f"User-agent: *\n{filler}Disallow: /", "text/plain")
    site.page("/a", fact("Aland"))
    assert len(await documents(source(site, [site.url("/a")]))) == 1
