import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count, pairwise
from typing import Any

import httpx2
import pytest
from aiohttp import web

from stream2llm_rag import ContextSourceError
from stream2llm_rag.sources.web._fetcher import read_body
from tests.rag.sources.web.site import PUBLIC, Site, documents, fact, never, reasons, source

HTML = {"Content-Type": "text/html"}


async def stalls(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=HTML)
    await response.prepare(request)
    await response.write(fact("Half").encode())
    return await never(request)


async def trickles(request: web.Request) -> web.StreamResponse:
    """Sends a byte now and then, so that no single read takes long."""
    response = web.StreamResponse(headers=HTML)
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


async def is_cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=HTML | {"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(fact("Half").encode())
    assert request.transport is not None
    request.transport.close()
    return response


async def resets(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=HTML)
    await response.prepare(request)
    await response.write(fact("Half").encode())
    assert request.transport is not None
    request.transport.abort()
    return response


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def says_nonsense(request: web.Request) -> web.StreamResponse:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(b"HTTP/1.1 two hundred\r\nnonsense\r\n\r\n")
    request.transport.close()
    return web.Response()


async def is_endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=HTML)
    await response.prepare(request)
    while True:
        await response.write(b"<p>more" * 10_000)


async def is_huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=HTML | {"Content-Length": str(10**12)})
    await response.prepare(request)
    return await never(request)


async def is_a_bomb(request: web.Request) -> web.StreamResponse:
    return web.Response(body=bomb(), headers=HTML | {"Content-Encoding": "gzip"})


async def is_a_bomb_in_a_bomb(request: web.Request) -> web.StreamResponse:
    body = gzip.compress(bomb())
    return web.Response(body=body, headers=HTML | {"Content-Encoding": "gzip, gzip"})


async def is_no_gzip(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"plain", headers=HTML | {"Content-Encoding": "gzip"})


async def has_endless_headers(request: web.Request) -> web.StreamResponse:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 20_000)
    return await never(request)


def bomb() -> bytes:
    return gzip.compress(b"<p>" * 10_000_000, compresslevel=9)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (never, "timeout"),
        (stalls, "timeout"),
        (trickles, "timeout"),
        (is_cut_off, "unreachable"),
        (resets, "unreachable"),
        (hangs_up, "unreachable"),
        (says_nonsense, "unreachable"),
        (has_endless_headers, "unreachable"),
        (is_endless, "too large"),
        (is_huge, "too large"),
        (is_a_bomb, "too large"),
        (is_a_bomb_in_a_bomb, "too large"),
        (is_no_gzip, "unreachable"),
    ],
)
async def test_a_broken_answer_costs_one_page(site: Site, answer: Any, reason: str) -> None:
    site.answers["/broken"] = answer
    site.page("/good", fact("Good"))
    urls = [site.url("/broken", "broken.test"), site.url("/good")]
    pages = source(site, urls, request_timeout_s=1.0, max_page_bytes=1_000_000)
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Good"
    assert reasons(pages) == {"/broken": reason}
    await site.idle()


async def test_little_of_a_bomb_is_ever_unpacked() -> None:
    packed = bomb()

    async def body() -> AsyncIterator[bytes]:
        yield packed

    response = httpx2.Response(200, headers={"Content-Encoding": "gzip"}, content=body())
    tracemalloc.start()
    try:
        unpacked = await read_body(response, 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1_000_000 < len(unpacked) <= 1_000_000 + 2**20
    assert peak < 8 * 2**20


async def test_a_compressed_page_is_read(site: Site) -> None:
    async def compressed(request: web.Request) -> web.StreamResponse:
        assert "gzip" in request.headers["Accept-Encoding"]
        body = gzip.compress(fact("Gzip").encode())
        return web.Response(body=body, headers=HTML | {"Content-Encoding": "gzip"})

    site.answers["/a"] = compressed
    (document,) = await documents(source(site, [site.url("/a")]))
    assert document.metadata["title"] == "Gzip"


async def test_the_page_behind_redirects_is_the_document(site: Site) -> None:
    site.redirect("/old", "/older#part")
    site.redirect("/older", site.url("/new", "other.test"))
    site.page("/new", fact("New"))
    (document,) = await documents(source(site, [site.url("/old")]))
    assert document.id == document.metadata["url"] == site.url("/new", "other.test")


async def test_redirects_have_an_end(site: Site) -> None:
    site.redirect("/round", "/round")
    for number in range(4):
        site.redirect(f"/{number}", f"/{number + 1}")
    site.page("/4", fact("Four"))
    site.page("/good", fact("Good"))
    urls = [site.url(path) for path in ("/round", "/0", "/good")]
    pages = source(site, urls, max_redirects=3)
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Good"
    assert reasons(pages) == {"/round": "redirects", "/0": "redirects"}
    assert site.paths().count("/round") == 4


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://site.test/", "http://", "http://[", "gopher:x"]
)
async def test_a_redirect_to_no_page(site: Site, location: str) -> None:
    site.redirect("/a", location)
    pages = source(site, [site.url("/a")])
    with pytest.raises(ContextSourceError, match="none of 1 pages"):
        await documents(pages)
    assert site.paths() == ["/a"]


def busy(status: int, times: int, **headers: str) -> Any:
    tries = count()

    async def answer(request: web.Request) -> web.StreamResponse:
        if next(tries) < times:
            return web.Response(status=status, headers=headers)
        return web.Response(text=fact("Patience"), content_type="text/html")

    return answer


PAST = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
FUTURE = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["0", PAST, "soon", None])
async def test_a_busy_server_is_asked_again(site: Site, status: int, after: str | None) -> None:
    headers = {"Retry-After": after} if after else {}
    site.answers["/a"] = busy(status, 1, **headers)
    (document,) = await documents(source(site, [site.url("/a")], retries=1))
    assert document.metadata["title"] == "Patience"
    assert site.paths() == ["/a", "/a"]


async def test_retry_after_is_waited_for(site: Site) -> None:
    site.answers["/a"] = busy(429, 1, **{"Retry-After": "1"})
    site.page("/b", fact("Bland"))
    pages = source(site, [site.url("/a"), site.url("/b")], retries=1, host_concurrency=1)
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert len(await documents(pages)) == 2
    assert loop.time() - start >= 1.0
    assert pages.report is not None
    # The whole host is left alone meanwhile.
    assert all(page.seconds >= 1.0 for page in pages.report.fetched)


@pytest.mark.parametrize("after", ["3600", FUTURE, "9" * 30])
async def test_a_server_that_is_busy_for_long_is_given_up(site: Site, after: str) -> None:
    site.answers["/a"] = busy(503, 1, **{"Retry-After": after})
    pages = source(site, [site.url("/a")], retries=1)
    with pytest.raises(ContextSourceError, match="HTTP 503"):
        await documents(pages)
    assert site.paths() == ["/a"]


async def test_retries_have_an_end(site: Site) -> None:
    site.answers["/a"] = busy(503, 9, **{"Retry-After": "0"})
    with pytest.raises(ContextSourceError, match="HTTP 503"):
        await documents(source(site, [site.url("/a")], retries=2))
    assert site.paths() == ["/a"] * 3


async def test_errors_that_stay_are_not_repeated(site: Site) -> None:
    site.answers["/a"] = busy(500, 9)
    with pytest.raises(ContextSourceError, match="HTTP 500"):
        await documents(source(site, [site.url("/a")], retries=2))
    assert site.paths() == ["/a"]


async def test_no_connection_is_tried_again(site: Site) -> None:
    site.page("/a", fact("Aland"))
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            raise ConnectionError("the name server is out")
        return [PUBLIC]

    (document,) = await documents(
        source(site, [site.url("/a")], resolve=resolve, retries=1, respect_robots=False)
    )
    assert document.metadata["title"] == "Aland"
    assert asked == ["site.test", "site.test"]


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(0.05)
    return web.Response(text=fact(request.path.strip("/").upper()), content_type="text/html")


async def test_requests_at_once_are_bounded_by_host_and_in_all(site: Site) -> None:
    site.answers.update({f"/{letter}": slow for letter in "abcdef"})
    urls = [site.url(f"/{path}", "one.test" if path < "e" else "two.test") for path in "abcdef"]
    pages = source(site, urls, host_concurrency=2, concurrency=3, respect_robots=False)
    assert len(await documents(pages)) == 6
    assert site.most_at_once["one.test"] == 2
    assert site.most_at_once_in_all == 3


async def test_hosts_are_given_time_between_requests(site: Site) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def timed(request: web.Request) -> web.Response:
        times.append(loop.time())
        return web.Response(text=fact(request.path.strip("/").upper()), content_type="text/html")

    site.answers.update({f"/{letter}": timed for letter in "abcd"})
    pages = source(site, lambda q: [site.url(f"/{letter}") for letter in q], host_delay_s=0.15)
    # Also between questions.
    found = await asyncio.gather(documents(pages, "ab"), documents(pages, "cd"))
    assert [len(part) for part in found] == [2, 2]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 0.1
