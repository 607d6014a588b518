"""What goes to a parser process and what comes back."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from stream2llm_rag.sources.web._outcome import SkipReason

__all__ = [
    "ANSWERS",
    "JOBS",
    "Answer",
    "Job",
    "Kind",
    "PageJob",
    "Parsed",
    "Refusal",
    "RobotsJob",
    "Rules",
]

Kind: TypeAlias = Literal["html", "pdf", "text", "unknown"]
"""How to read a body; ``"unknown"`` looks at it."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class PageJob(_Message):
    """Read the text of a page.

    Attributes:
        kind: What the server says it is.
        url: What its links are relative to.
        charset: The server's word on it.
        max_pdf_pages: Pages of a PDF to read.
        links: Whether its links are wanted.
    """

    job: Literal["page"] = "page"
    kind: Kind
    url: str
    charset: str | None = None
    max_pdf_pages: int
    links: bool = False


class RobotsJob(_Message):
    """Find out what a robots.txt says about a URL."""

    job: Literal["robots"] = "robots"
    url: str
    user_agent: str


Job: TypeAlias = Annotated[PageJob | RobotsJob, Field(discriminator="job")]


class Parsed(_Message):
    """A page's text.

    Attributes:
        text: Markdown if the page was HTML.
        title: Empty if it has none.
        links: Absolute URLs, in the order of the page.
        truncated: Whether there was more than was to be read.
    """

    answer: Literal["parsed"] = "parsed"
    text: str
    title: str = ""
    links: tuple[str, ...] = ()
    truncated: bool = False


class Rules(_Message):
    """What a robots.txt says."""

    answer: Literal["rules"] = "rules"
    allowed: bool
    crawl_delay_s: float = 0.0


class Refusal(_Message):
    """The body cannot be read."""

    answer: Literal["refusal"] = "refusal"
    reason: SkipReason
    detail: str


Answer: TypeAlias = Annotated[Parsed | Rules | Refusal, Field(discriminator="answer")]

JOBS = TypeAdapter[PageJob | RobotsJob](Job)
ANSWERS = TypeAdapter[Parsed | Rules | Refusal](Answer)
