from pathlib import Path

import pytest
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from stream2llm_rag import ContextSourceError, Document
from stream2llm_rag.ingest import read_folder


def by_source(documents: list[Document]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for document in documents:
        source = document.metadata["source"]
        texts[source] = texts.get(source, "") + document.text
    return texts


def write_pdf(path: Path, *pages: str) -> None:
    with PdfPages(path) as pdf:
        for text in pages:
            figure = Figure()
            figure.text(0.1, 0.5, text)
            pdf.savefig(figure)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "plain.txt").write_text("The capital of Zorland is Mirefall.")
    (tmp_path / "METADATA").write_text("Name: zorland\nVersion: 1.0")
    (tmp_path / "sub" / "notes.md").write_text("# Rivers\n\nThe river of Zorland is Tessin.")
    (tmp_path / "page.html").write_text(
        "<html><head><title>T</title><script>evil()</script></head><body><article><h1>Kings</h1>"
        "<p>The king of Zorland is Ardo, who was crowned in the year of the long river.</p>"
        "</article></body></html>"
    )
    write_pdf(tmp_path / "book.pdf", "The anthem of Zorland.", "The queen of Zorland.")
    return tmp_path


def test_every_kind_of_file_is_read(folder: Path) -> None:
    read = read_folder(folder)
    texts = by_source(read.documents)
    assert read.files == len(texts) == 5
    assert read.skipped == {}
    assert "Mirefall" in texts["plain.txt"]
    assert "Version: 1.0" in texts["METADATA"]
    assert "Tessin" in texts["sub/notes.md"]
    assert "Ardo" in texts["page.html"]
    assert "evil" not in texts["page.html"]
    assert "anthem" in texts["book.pdf"]


def test_pages_of_a_pdf_are_known(folder: Path) -> None:
    pages = {
        document.metadata["page"]: document.text
        for document in read_folder(folder).documents
        if document.metadata["source"] == "book.pdf"
    }
    assert "anthem" in pages[1]
    assert "queen" in pages[2]


def test_long_files_are_cut_without_losing_text(tmp_path: Path) -> None:
    sentences = [f"Sentence number {number} says something." for number in range(200)]
    (tmp_path / "long.txt").write_text(" ".join(sentences))
    documents = read_folder(tmp_path).documents
    assert len({document.id for document in documents}) == len(documents) > 5
    assert max(len(document.text) for document in documents) <= 900
    together = " ".join(document.text for document in documents)
    assert all(sentence in together for sentence in sentences)


def test_what_cannot_be_read_is_skipped_and_named(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"not a pdf")
    (folder / "binary").write_bytes(b"\x00\x01\x02")
    (folder / "latin.txt").write_bytes(b"\xff\xfe\xfa\xe9")
    (folder / "empty.md").write_text(" \n")
    (folder / "empty.html").write_text("<html><body></body></html>")
    (folder / "program.exe").write_bytes(b"MZ")
    (folder / ".hidden.txt").write_text("secret")
    read = read_folder(folder)
    assert read.files == 5
    assert set(read.skipped) == {"broken.pdf", "binary", "latin.txt", "empty.md", "empty.html"}
    assert all("secret" not in document.text for document in read.documents)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ContextSourceError, match="is not a folder"):
        read_folder(tmp_path / "missing")


def test_a_folder_without_documents(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ContextSourceError, match=r"empty\.txt: it holds no text"):
        read_folder(tmp_path)
