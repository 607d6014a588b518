import asyncio
import socket
from collections.abc import Sequence
from functools import partial

import httpcore2
import pytest
from aiohttp import web

from stream2llm_rag import ContextSourceError
from stream2llm_rag.sources.web import WebConfig, WebSource
from stream2llm_rag.sources.web._network import PinnedBackend, resolve
from stream2llm_rag.sources.web._outcome import PageSkippedError
from tests.rag.sources.web.site import (
    PRIVATE,
    PUBLIC,
    Site,
    documents,
    fact,
    reasons,
    source,
)


async def refused(site: Site, url: str, resolver: object = None) -> None:
    """Nothing was asked at the private address, and the page was refused."""
    extra = {} if resolver is None else {"resolve": resolver}
    pages = source(site, [url], **extra)  # type: ignore[arg-type]
    with pytest.raises(ContextSourceError, match="refused"):
        await documents(pages)
    assert all(address != PRIVATE for _, _, address in site.asked)


async def test_a_private_address_is_refused(site: Site) -> None:
    site.page("/a", fact("Aland"))
    await refused(site, site.url("/a", "private.test"))
    assert site.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "127.2",
        "2130706434",
        "0x7f.0.0.2",
        "0177.0.0.2",
        "[::ffff:127.0.0.2]",
        "[::1]",
        "localhost.",
        "0.0.0.0",
    ],
)
async def test_every_spelling_of_a_private_address_is_refused(site: Site, host: str) -> None:
    site.page("/a", fact("Aland"))
    config = WebConfig(ports=frozenset({site.port}), retries=0, timeout_s=20)
    pages = WebSource([site.url("/a", host)], config)
    with pytest.raises(ContextSourceError, match=r"refused|has no address"):
        await documents(pages)
    assert site.asked == []


async def test_by_default_nothing_private_is_asked(site: Site) -> None:
    pages = WebSource([site.url("/a")], WebConfig(ports=frozenset({site.port})), resolve=public)
    with pytest.raises(ContextSourceError, match="is not public"):
        await documents(pages)
    everything = WebConfig(ports=frozenset({site.port}), allow_private=True)
    site.page("/a", fact("Aland"))
    assert len(await documents(WebSource([site.url("/a")], everything, resolve=public))) == 1


async def public(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    site.redirect("/a", site.url("/secret", "private.test"))
    site.redirect("/b", f"http://{PRIVATE}:{site.port}/secret")
    site.page("/secret", fact("Secret"))
    for path in ("/a", "/b"):
        await refused(site, site.url(path), partial(mapped, site))
    assert set(site.paths()) == {"/a", "/b"}


async def mapped(site: Site, host: str, port: int) -> Sequence[str]:
    return [host if host == PRIVATE else PRIVATE if host == "private.test" else PUBLIC]


async def test_a_robots_txt_at_a_private_address_is_not_asked(site: Site) -> None:
    site.redirect("/robots.txt", site.url("/secret", "private.test"))
    site.page("/a", fact("Aland"))
    await refused(site, site.url("/a"))
    assert site.paths() == []


async def test_one_private_address_among_public_ones_is_enough(site: Site) -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return [PUBLIC, PRIVATE]

    await refused(site, site.url("/a"), both)
    assert site.asked == []


async def test_a_name_that_turns_private_between_requests_is_refused(site: Site) -> None:
    """DNS rebinding: public when first looked up, private for the connection after that."""
    answers = iter([[PUBLIC], [PRIVATE]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async def closing(request: web.Request) -> web.Response:
        return web.Response(status=404, headers={"Connection": "close"})

    site.answers["/robots.txt"] = closing
    site.page("/a", fact("Aland"))
    await refused(site, site.url("/a"), rebinding)
    assert [(path, address) for _, path, address in site.asked] == [("/robots.txt", PUBLIC)]


async def test_what_was_judged_is_what_is_connected_to(site: Site) -> None:
    """DNS rebinding: the name turns private right after it was looked up."""
    lookups = 0

    async def once(host: str, port: int) -> Sequence[str]:
        nonlocal lookups
        lookups += 1
        return [PUBLIC] if lookups == 1 else [PRIVATE]

    site.page("/a", fact("Aland"))
    (document,) = await documents(source(site, [site.url("/a")], resolve=once))
    assert document.metadata["title"] == "Aland"
    # The host header is the name's, and the connection of the first lookup served both requests.
    assert site.asked == [("site.test", "/robots.txt", PUBLIC), ("site.test", "/a", PUBLIC)]
    assert lookups == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://site.test/",
        "file:///etc/passwd",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "//site.test/a",
        "/a",
        "a",
        "",
        "http://",
        "http:///a",
        "http://[::1",
        "http://site.test:99999/",
        "http://" + "a" * 70_000,
        "http://user@site.test/",
        "http://user:password@site.test/",
        "http://site.test:22/",
        "https://site.test:8443/",
    ],
)
async def test_urls_that_are_not_asked_for(site: Site, url: str) -> None:
    pages = WebSource([url])
    with pytest.raises(ContextSourceError, match=r"none of 1 pages could be read: .*refused"):
        await documents(pages)
    (record,) = pages.report.skipped if pages.report else ()
    assert record.url == url


async def test_a_name_without_address(site: Site) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    pages = source(site, [site.url("/a")], resolve=unknown)
    with pytest.raises(ContextSourceError, match=r"unreachable: .*site\.test has no address"):
        await documents(pages)


async def test_a_slow_lookup_is_a_timeout(site: Site) -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    pages = source(site, [site.url("/a")], resolve=slow, connect_timeout_s=0.05)
    with pytest.raises(ContextSourceError, match=r"looking up site\.test took too long"):
        await documents(pages)
    assert set(reasons(pages).values()) == {"unreachable"}


async def test_the_next_address_is_tried(site: Site) -> None:
    backend = PinnedBackend(lambda address: True, partial(addresses, ["127.0.0.3", PUBLIC]))
    stream = await backend.connect_tcp("site.test", site.port, timeout=5)
    assert stream.get_extra_info("server_addr") == (PUBLIC, site.port)
    await stream.aclose()


async def test_no_address_answers(site: Site) -> None:
    backend = PinnedBackend(lambda address: True, partial(addresses, ["127.0.0.3"]))
    with pytest.raises(httpcore2.ConnectError, match=r"no connection to site\.test"):
        await backend.connect_tcp("site.test", site.port)
    nowhere = PinnedBackend(lambda address: True, partial(addresses, []))
    with pytest.raises(PageSkippedError, match="has no address"):
        await nowhere.connect_tcp("site.test", site.port)


async def addresses(found: list[str], host: str, port: int) -> Sequence[str]:
    return found


async def test_the_system_is_asked_for_addresses() -> None:
    assert PUBLIC in await resolve("localhost", 80)
    assert await resolve("127.1", 80) == [PUBLIC]
