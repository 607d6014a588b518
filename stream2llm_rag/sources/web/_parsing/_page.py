"""A body as text, by its kind."""

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing._charset import decoded
from stream2llm_rag.sources.web._parsing._html import read_html
from stream2llm_rag.sources.web._parsing._messages import Kind, PageJob, Parsed
from stream2llm_rag.sources.web._parsing._pdf import read_pdf

__all__ = ["read_page"]

_BEGINNING = 1024


def read_page(job: PageJob, body: bytes) -> Parsed:
    """Reads the text of a page.

    Raises:
        PageSkippedError: There is none.
        Exception: Anything that parsers raise on malformed input.
    """
    match _kind(body) if job.kind == "unknown" else job.kind:
        case "html":
            return read_html(decoded(body, job.charset), job.url, links=job.links)
        case "pdf":
            return read_pdf(body, job.max_pdf_pages)
        case "text":
            return _read_text(decoded(body, job.charset))
        case _:
            detail = "its kind is neither said nor seen"
            raise PageSkippedError(SkipReason.UNSUPPORTED, detail)


def _read_text(text: str) -> Parsed:
    if "\0" in text:
        raise PageSkippedError(SkipReason.UNREADABLE, "it is not text")
    if not text.strip():
        raise PageSkippedError(SkipReason.EMPTY, "no text in it")
    return Parsed(text=text.strip())


def _kind(body: bytes) -> Kind:
    beginning = body[:_BEGINNING].lower()
    if beginning.startswith(b"%pdf-"):
        return "pdf"
    if b"<html" in beginning or b"<!doctype html" in beginning:
        return "html"
    return "unknown"
