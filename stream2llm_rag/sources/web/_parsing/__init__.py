"""Parsing of what comes from the web, in processes that may be killed.

Parsers of HTML, PDF and robots.txt can be kept busy for minutes, or be crashed, by a few hundred
kilobytes. A thread could not be stopped then, and an engine in this process would suffer.
"""

import atexit
import os
from functools import partial
from typing import cast

from stream2llm_rag.sources._thread import run_in_thread
from stream2llm_rag.sources.web._parsing._messages import (
    Kind,
    PageJob,
    Parsed,
    RobotsJob,
    Rules,
)
from stream2llm_rag.sources.web._parsing._pool import ParserPool

__all__ = [
    "Kind",
    "PageJob",
    "Parsed",
    "RobotsJob",
    "Rules",
    "parse_page",
    "parse_robots",
    "warm_up",
]

_POOL = ParserPool(max(1, min(4, (os.cpu_count() or 1) // 2)))
atexit.register(_POOL.close)


async def warm_up() -> None:
    """Has a parser process started, so that the first page need not wait for it."""
    await run_in_thread(_POOL.warm_up)


async def parse_page(job: PageJob, body: bytes, *, timeout_s: float) -> Parsed:
    """Reads the text of a page.

    Args:
        job: How to read it.
        body: What was downloaded.
        timeout_s: Seconds of parsing; waiting for a process does not count.

    Raises:
        PageSkippedError: It cannot be read, or not in time.
    """
    return cast("Parsed", await run_in_thread(partial(_POOL.answer, job, body, timeout_s)))


async def parse_robots(job: RobotsJob, body: bytes, *, timeout_s: float) -> Rules:
    """Looks up what a robots.txt says about a URL.

    Args:
        job: The URL.
        body: The robots.txt.
        timeout_s: Seconds of parsing; waiting for a process does not count.

    Raises:
        PageSkippedError: It cannot be read in time.
    """
    return cast("Rules", await run_in_thread(partial(_POOL.answer, job, body, timeout_s)))
