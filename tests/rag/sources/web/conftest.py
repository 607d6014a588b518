"""The server that the tests crawl."""

from collections.abc import AsyncIterator

import pytest

from tests.rag.sources.web.site import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(Site()) as started:
        yield started
