"""A real HTTP server on the loopback interface, asked under any host name."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiohttp import web
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import ContextSource
from stream2llm_rag.sources.web import Resolver, WebConfig, WebSource

PUBLIC = "127.0.0.1"
"""Stands for a public address: the configurations here allow it."""
PRIVATE = "127.0.0.2"
"""Nothing allows it."""

Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """What the server answers on each path, and what it was asked.

    Attributes:
        answers: By path; others are not found.
        asked: Host, path and address of each request.
        most_at_once: Requests that were under way at once, by host.
        most_at_once_in_all: Requests that were under way at once.
    """

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.most_at_once: Counter[str] = Counter()
        self.most_at_once_in_all = 0
        self._now: Counter[str] = Counter()
        self.runner: web.AppRunner | None = None

    def url(self, path: str, host: str = "site.test") -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, body: bytes | str, content_type: str = "text/html") -> None:
        headers = {"Content-Type": content_type} if content_type else {}
        raw = body.encode() if isinstance(body, str) else body

        async def answer(request: web.Request) -> web.Response:
            del request
            return web.Response(body=raw, headers=headers)

        self.answers[path] = answer

    def redirect(self, path: str, to: str) -> None:
        async def answer(request: web.Request) -> web.Response:
            del request
            return web.Response(status=302, headers={"Location": to})

        self.answers[path] = answer

    def paths(self) -> list[str]:
        """Paths that were asked for, less robots.txt."""
        return [path for _, path, _ in self.asked if path != "/robots.txt"]

    async def idle(self) -> None:
        """Waits until no client is connected."""
        assert self.runner is not None
        assert self.runner.server is not None
        async with asyncio.timeout(10):
            while self.runner.server.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        host = request.url.host or ""
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        self.asked.append((host, request.path, address))
        self._now.update([host])
        self.most_at_once |= self._now
        self.most_at_once_in_all = max(self.most_at_once_in_all, self._now.total())
        try:
            if request.path not in self.answers:
                return web.Response(status=404)
            return await self.answers[request.path](request)
        finally:
            self._now[host] -= 1


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[Site]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    site.runner = runner
    await runner.setup()
    public = web.TCPSite(runner, PUBLIC, 0)
    await public.start()
    site.port = runner.addresses[0][1]
    await web.TCPSite(runner, PRIVATE, site.port).start()
    try:
        yield site
    finally:
        await runner.cleanup()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Stands for the world's name servers."""
    del port
    return [PRIVATE if host.startswith("private") else PUBLIC]


def config(site: Site, **changes: Any) -> WebConfig:
    settings: dict[str, Any] = {
        "ports": {site.port},
        "allowed_networks": [f"{PUBLIC}/32"],
        "host_delay_s": 0.0,
        "timeout_s": 30.0,
        "retries": 0,
    }
    return WebConfig.model_validate(settings | changes)


def source(site: Site, pages: Any, *, resolve: Resolver = resolve, **changes: Any) -> WebSource:
    return WebSource(pages, config(site, **changes), resolve=resolve)


async def documents(web_source: ContextSource, query: str = "q") -> list[Document]:
    found: list[Document] = []
    async for event in web_source.stream(query):
        assert isinstance(event, Append | Update)
        found += event.documents
    return found


def reasons(web_source: WebSource) -> dict[str, str]:
    """Why pages were skipped, by the path of their URL."""
    assert web_source.report is not None
    return {
        "/" + page.url.partition("://")[2].partition("/")[2]: str(page.reason)
        for page in web_source.report.skipped
    }


def article(*paragraphs: str, title: str = "A page") -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    navigation = "<nav><a href='/'>Home</a> <a href='/login'>Log in</a></nav>"
    return (
        f"<!doctype html><html><head><title>{title}</title></head>"
        f"<body>{navigation}<article>{body}</article></body></html>"
    )


def fact(name: str) -> str:
    """A page of its own for each name."""
    return article(
        f"The capital of {name} is {name}ville, and its river is the {name}stream.",
        f"Nobody in {name} forgets the {name} song that {name} children learn.",
        title=name,
    )


def pdf(*pages: str, password: str | None = None, owner_password: str | None = None) -> bytes:
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): font})
    for text in pages:
        page = writer.add_blank_page(600, 100)
        contents = DecodedStreamObject()
        contents.set_data(f"BT /F1 12 Tf 10 50 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(contents)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if password is not None or owner_password is not None:
        writer.encrypt(password or "", owner_password, algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


async def never(request: web.Request) -> web.StreamResponse:
    """An answer that does not come."""
    await asyncio.Event().wait()
    return web.Response()
