"""The parser process: ``python -m`` this module with the descriptor of a connection."""

import logging
import resource
import sys
from multiprocessing.connection import Connection

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing._messages import (
    ANSWERS,
    JOBS,
    PageJob,
    Parsed,
    Refusal,
    RobotsJob,
    Rules,
)
from stream2llm_rag.sources.web._parsing._page import read_page
from stream2llm_rag.sources.web._parsing._rules import read_rules

_MAX_MEMORY = 2 * 2**30


def main(descriptor: int) -> None:
    """Answers jobs until the other end is closed."""
    # Parsers log what is wrong with each page; the answer says it.
    logging.disable()
    import pypdf  # noqa: F401 - loaded before the first job
    import trafilatura  # noqa: F401

    _limit_memory()
    connection = Connection(descriptor)
    connection.send_bytes(b"ready")
    while True:
        try:
            job = JOBS.validate_json(connection.recv_bytes())
            body = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(ANSWERS.dump_json(_answer(job, body)))


def _answer(job: PageJob | RobotsJob, body: bytes) -> Parsed | Rules | Refusal:
    try:
        return read_page(job, body) if isinstance(job, PageJob) else read_rules(job, body)
    except PageSkippedError as error:
        return Refusal(reason=error.reason, detail=error.detail)
    except Exception as error:  # noqa: BLE001 - parsers raise anything at all
        return Refusal(reason=SkipReason.UNREADABLE, detail=f"{type(error).__name__}: {error}")


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = _MAX_MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
