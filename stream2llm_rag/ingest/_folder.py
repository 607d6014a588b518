"""A folder of files as chunked documents."""

from pathlib import Path
from typing import NamedTuple

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import ContextSourceError
from stream2llm_rag.ingest._text import Page, UnreadableFileError, is_supported, read_pages

__all__ = ["Folder", "read_folder"]

_CHUNK_CHARACTERS = (400, 900)
_MARKDOWN = {".md", ".markdown", ".html", ".htm"}


class Folder(NamedTuple):
    """What a folder held.

    ``documents`` are the chunks of all files, ``files`` says how many files they come from, and
    ``skipped`` why files of a supported kind were not read.
    """

    documents: list[Document]
    files: int
    skipped: dict[str, str]


def read_folder(folder: Path) -> Folder:
    """Reads text, Markdown, HTML and PDF files below ``folder`` and cuts them into chunks.

    A chunk's id is its file's path and a number; its metadata hold ``source`` (the path), ``title``
    (the file's name) and, for a PDF, ``page``. Hidden files are left alone.

    Raises:
        ContextSourceError: The folder is not there, or no file in it could be read.
    """
    if not folder.is_dir():
        msg = f"{str(folder)!r} is not a folder; name one with text, Markdown, HTML or PDF files"
        raise ContextSourceError(msg)
    documents: list[Document] = []
    skipped: dict[str, str] = {}
    files = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or not is_supported(path) or _is_hidden(name):
            continue
        try:
            pages = read_pages(path)
        except UnreadableFileError as error:
            skipped[name] = str(error)
            continue
        files += 1
        documents += _chunks(name, pages, markdown=path.suffix.lower() in _MARKDOWN)
    if not documents:
        reasons = "".join(f"; {name}: {reason}" for name, reason in skipped.items())
        msg = f"{str(folder)!r} holds no readable text, Markdown, HTML or PDF file{reasons}"
        raise ContextSourceError(msg)
    return Folder(documents, files, skipped)


def _chunks(name: str, pages: list[Page], *, markdown: bool) -> list[Document]:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    splitter = (MarkdownSplitter if markdown else TextSplitter)(_CHUNK_CHARACTERS)
    pieces = [(piece, page.number) for page in pages for piece in splitter.chunks(page.text)]
    title = name.rpartition("/")[2]
    return [
        Document(
            id=f"{name}#{number}",
            text=piece,
            metadata={"source": name, "title": title} | ({"page": page} if page else {}),
        )
        for number, (piece, page) in enumerate(pieces, start=1)
    ]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
