"""Web pages as a context source: crawled politely, read safely, delivered as they land.

It needs the ``web`` extra: ``pip install "stream2llm-rag[web]"``.
"""

from stream2llm_rag.sources.web._config import WebConfig
from stream2llm_rag.sources.web._network import Resolver
from stream2llm_rag.sources.web._outcome import CrawlReport, PageRecord, SkipReason
from stream2llm_rag.sources.web._source import WebSource

__all__ = ["CrawlReport", "PageRecord", "Resolver", "SkipReason", "WebConfig", "WebSource"]
