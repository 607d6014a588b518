"""The text of HTML pages."""

from typing import Any

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason
from stream2llm_rag.sources.web._parsing._messages import Parsed

__all__ = ["read_html"]

_MAX_LINKS = 1000


def read_html(html: str, url: str, *, links: bool) -> Parsed:
    """Returns a page's main text as Markdown, without navigation and scripts.

    Args:
        html: The page.
        url: What its links are relative to.
        links: Whether its links are wanted.

    Raises:
        PageSkippedError: There is no text in it.
    """
    import trafilatura

    tree = trafilatura.load_html(html)
    if tree is None:
        raise PageSkippedError(SkipReason.EMPTY, "no HTML in it")
    text = trafilatura.extract(tree, output_format="markdown", include_comments=False)
    if not text or not text.strip():
        raise PageSkippedError(SkipReason.EMPTY, "no text in it; scripts are not run")
    metadata = trafilatura.extract_metadata(tree, default_url=url, extensive=False)
    return Parsed(text=text, title=metadata.title or "", links=_links(tree, url) if links else ())


def _links(tree: Any, url: str) -> tuple[str, ...]:
    tree.make_links_absolute(url, handle_failures="discard")
    found = (
        anchor.get("href", "")
        for anchor in tree.iter("a")
        if "nofollow" not in anchor.get("rel", "").lower()
    )
    return tuple(dict.fromkeys(filter(None, found)))[:_MAX_LINKS]
