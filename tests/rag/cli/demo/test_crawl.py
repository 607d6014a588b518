import random
from statistics import mean, median

import pytest

from stream2llm_rag import Append, ContextSourceError, Document
from stream2llm_rag.cli._demo._crawl import Crawl, crawl_delays
from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.sources import from_retriever
from tests.rag.builders import documents

SETTINGS = DemoSettings(pages=4, time_scale=0)


async def pages(found: tuple[Document, ...], settings: DemoSettings = SETTINGS) -> list[list[str]]:
    crawl = Crawl(from_retriever(lambda query: list(found)), settings, "user")
    events = [event async for event in crawl.stream("q")]
    assert all(isinstance(event, Append) for event in events)
    return [[document.id for document in event.documents] for event in events]


async def test_documents_come_page_by_page_in_their_ranking() -> None:
    assert await pages(documents(*"abcdefgh")) == [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]
    assert await pages(documents(*"abc")) == [["a"], ["b"], ["c"]]
    assert await pages(()) == []


def test_delays_follow_the_published_crawl() -> None:
    first, *gaps = crawl_delays(random.Random(0), 4001, 1.0)
    assert first == 2.6
    assert median(gaps) == pytest.approx(0.7, rel=0.1)
    assert mean(gaps) == pytest.approx(1.05, rel=0.1)
    assert max(gaps) <= 35
    assert crawl_delays(random.Random(0), 3, 0.5) == [
        delay / 2 for delay in crawl_delays(random.Random(0), 3, 1.0)
    ]


async def test_a_failing_index_is_a_typed_error() -> None:
    crawl = Crawl(from_retriever(lambda query: 1 / 0), SETTINGS, "user")
    with pytest.raises(ContextSourceError, match="ZeroDivisionError"):
        await anext(crawl.stream("q"))
