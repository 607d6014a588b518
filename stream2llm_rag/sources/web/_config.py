"""What a web source may do."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

__all__ = ["WebConfig"]


class WebConfig(BaseModel):
    """Bounds and manners of a :class:`~stream2llm_rag.sources.web.WebSource`.

    Times are in seconds. Sizes of texts are what ``measure`` says.

    Attributes:
        user_agent: Sent with every request; robots.txt groups are looked up by it. Say who you are
            and how to reach you.
        max_pages: Different pages that are asked for; what is found beyond is left out.
        follow_depth: How many links deep to go from the pages that were asked for, within their
            host; 0 follows none.
        concurrency: Requests at once.
        host_concurrency: Requests at once to one host.
        host_delay_s: Least time between the starts of two requests to one host, also of different
            questions. A ``Crawl-delay`` in its robots.txt counts if it is longer.
        connect_timeout_s: Each of name lookup, connection and TLS handshake.
        request_timeout_s: One request from its start to its last byte.
        parse_timeout_s: Parsing of one page, in a process that is killed then.
        timeout_s: All of one question. The pages that landed until then are the context.
        retries: How often a request is repeated after 429, 503, or no connection.
        max_retry_wait_s: A page is given up if its server asks for a longer wait (``Retry-After``).
        max_redirects: Redirects of one page.
        max_page_bytes: Size of a page, after decompression. Larger ones are skipped.
        max_pdf_pages: Pages of a PDF that are read; the document's metadata then has
            ``"truncated": True``.
        measure: Size of a text: characters by default; pass a function that counts tokens.
        max_document_size: A longer page is cut behind a sentence; its metadata then has
            ``"truncated": True``.
        max_total_size: All documents together; the crawl ends when it is reached.
        similarity: From which share of common runs of words on a page counts as a duplicate of an
            earlier one, see :func:`~stream2llm_rag.sources.deduplicate`.
        snippets: Whether texts that the search already gives are delivered, before the pages land.
        respect_robots: Whether robots.txt is asked and obeyed.
        ports: Ports that may be connected to.
        allow_private: Whether loopback, private, link-local and other addresses that are not public
            may be connected to. URLs from users or the web then reach your own network.
        allowed_networks: Networks that may be connected to although they are not public.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_agent: str = Field(default="stream2llm-rag", pattern=r"^[\x21-\x7e][\x20-\x7e]*$")
    max_pages: PositiveInt = 16
    follow_depth: NonNegativeInt = 0
    concurrency: PositiveInt = 8
    host_concurrency: PositiveInt = 2
    host_delay_s: NonNegativeFloat = 0.1
    connect_timeout_s: PositiveFloat = 5.0
    request_timeout_s: PositiveFloat = 15.0
    parse_timeout_s: PositiveFloat = 5.0
    timeout_s: PositiveFloat = 60.0
    retries: NonNegativeInt = 2
    max_retry_wait_s: NonNegativeFloat = 5.0
    max_redirects: NonNegativeInt = 5
    max_page_bytes: PositiveInt = 5_000_000
    max_pdf_pages: PositiveInt = 50
    measure: Callable[[str], int] = len
    max_document_size: PositiveInt | None = 24_000
    max_total_size: PositiveInt | None = 200_000
    similarity: float = Field(default=0.8, gt=0, le=1)
    snippets: bool = True
    respect_robots: bool = True
    ports: frozenset[int] = frozenset({80, 443})
    allow_private: bool = False
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
