"""The text of one file, by its kind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Page", "UnreadableFileError", "is_supported", "read_pages"]


class Page(NamedTuple):
    """A piece of a file: a page of a PDF, otherwise the whole text."""

    text: str
    number: int | None = None


class UnreadableFileError(Exception):
    """A file of a supported kind holds nothing that can be read; the message says why."""


def is_supported(path: Path) -> bool:
    """Whether files with this name are read; names without a suffix are taken for text."""
    return path.suffix.lower() in _READERS


def read_pages(path: Path) -> list[Page]:
    """Returns the pages of a file that hold text.

    Raises:
        UnreadableFileError: There is none.
    """
    try:
        pages = [page for page in _READERS[path.suffix.lower()](path) if page.text.strip()]
    except UnreadableFileError:
        raise
    except Exception as error:
        # Parsers raise anything at all on malformed files.
        msg = f"{type(error).__name__}: {error}"
        raise UnreadableFileError(msg) from error
    if not pages:
        msg = "it holds no text"
        raise UnreadableFileError(msg)
    return pages


def _read_text(path: Path) -> Iterator[Page]:
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        msg = "it is not text"
        raise UnreadableFileError(msg)
    yield Page(text)


def _read_html(path: Path) -> Iterator[Page]:
    import trafilatura

    # Bytes, so that the page's own encoding counts.
    yield Page(trafilatura.extract(path.read_bytes(), output_format="markdown") or "")


def _read_pdf(path: Path) -> Iterator[Page]:
    import pypdf

    for number, page in enumerate(pypdf.PdfReader(path).pages, start=1):
        yield Page(page.extract_text(), number)


_READERS: dict[str, Callable[[Path], Iterator[Page]]] = {
    "": _read_text,
    ".txt": _read_text,
    ".text": _read_text,
    ".rst": _read_text,
    ".md": _read_text,
    ".markdown": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}
