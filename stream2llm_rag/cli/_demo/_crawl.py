"""Documents that arrive as the pages of a crawl do."""

import math
import random
from collections.abc import AsyncGenerator, AsyncIterator

from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.documents import Document
from stream2llm_rag.events import Append, Update, ranked_after
from stream2llm_rag.sources import ContextSource, events_of, replay

__all__ = ["Crawl", "crawl_delays"]

# Published with Stream2LLM's crawler traces: see the README's citation. The first page takes the
# mean duration of a query less its mean gaps; gaps are fitted by a log-normal distribution.
_FIRST_PAGE_S = 2.6
_MEDIAN_GAP_S = 0.7
_GAP_SIGMA = 0.9
_LONGEST_GAP_S = 35.0


def crawl_delays(rng: random.Random, pages: int, time_scale: float) -> list[float]:
    """Draws when each page comes, in seconds after the one before; the first after the query."""
    if not pages:
        return []
    gaps = (
        min(rng.lognormvariate(math.log(_MEDIAN_GAP_S), _GAP_SIGMA), _LONGEST_GAP_S)
        for _ in range(pages - 1)
    )
    return [delay * time_scale for delay in (_FIRST_PAGE_S, *gaps)]


class Crawl:
    """Finds documents in an index and delivers them page by page with replayed crawl times.

    Args:
        index: Where the documents are found.
        settings: Pages and pace.
        key: Distinguishes this crawl's times from others'; the same key gives the same times.
    """

    def __init__(self, index: ContextSource, settings: DemoSettings, key: str) -> None:
        self._index = index
        self._settings = settings
        self._key = key

    async def stream(self, query: str) -> AsyncGenerator[Append | Update, None]:
        """Retrieves for ``query``."""
        documents = await self._find(query)
        settings = self._settings
        rng = random.Random(f"crawl-{settings.seed}-{self._key}")
        size = max(1, math.ceil(len(documents) / settings.pages))
        pages = [documents[start : start + size] for start in range(0, len(documents), size)]
        delays = crawl_delays(rng, len(pages), settings.time_scale)
        trace = [(delay, Append(documents=page)) for delay, page in zip(delays, pages, strict=True)]
        arrivals: AsyncIterator[Append | Update] = replay(trace).stream(query)
        async for event in arrivals:
            yield event

    async def _find(self, query: str) -> tuple[Document, ...]:
        found: tuple[Document, ...] = ()
        async for event in events_of(self._index, query):
            found = ranked_after(found, event)
        return found
