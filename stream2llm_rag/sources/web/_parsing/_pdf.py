"""The text of PDF files."""

import io

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing._messages import Parsed

__all__ = ["read_pdf"]


def read_pdf(body: bytes, max_pages: int) -> Parsed:
    """Returns the text of a PDF's first pages.

    Raises:
        PageSkippedError: It has a password, or there is no text in it.
    """
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(body))
    # Many files only restrict what their owner allows, and open without a password.
    if reader.is_encrypted and not reader.decrypt(""):
        raise PageSkippedError(SkipReason.UNREADABLE, "it has a password")
    count = len(reader.pages)
    texts = [reader.pages[number].extract_text() for number in range(min(count, max_pages))]
    text = "\n\n".join(filter(None, map(str.strip, texts)))
    if not text:
        raise PageSkippedError(SkipReason.EMPTY, "no text in it; pictures are not read")
    title = reader.metadata.title if reader.metadata else None
    return Parsed(text=text, title=title or "", truncated=count > max_pages)
