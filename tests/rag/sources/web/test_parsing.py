import os
import signal
import subprocess
import sys
import textwrap

import pytest

from stream2llm_rag.sources.web._outcome import PageSkippedError
from stream2llm_rag.sources.web._parsing import PageJob, Parsed, parse_page
from stream2llm_rag.sources.web._parsing._charset import decoded
from stream2llm_rag.sources.web._parsing._pool import ParserPool
from tests.rag.sources.web.site import Site, article, documents, fact, pdf, reasons, source


async def parse(kind: str, body: bytes | str, timeout_s: float = 20.0, **options: object) -> Parsed:
    settings = {"kind": kind, "url": "http://site.test/a", "max_pdf_pages": 3} | options
    raw = body.encode() if isinstance(body, str) else body
    return await parse_page(PageJob.model_validate(settings), raw, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", "no HTML"),
        ("just words", "no HTML"),
        ("<script>document.write('The king of Zorland')</script>", "no HTML|no text"),
        ("<html><body><div id='app'></div><script src='x'></script></body></html>", "no text"),
        ("<div>" * 20_000, "no HTML|no text"),
        ("\x00" * 1000, "no HTML"),
    ],
)
async def test_a_page_without_text(html: str, expected: str) -> None:
    with pytest.raises(PageSkippedError, match=f"empty: ({expected})"):
        await parse("html", html)


@pytest.mark.parametrize(
    "around",
    [
        "<div>" * 200 + "{}" + "</div>" * 200,
        "{}<b><i>" + "<p><b>unclosed" * 200,
        "<table><tr><td>" * 50 + "</table>" * 50 + "{}",
        "<!--" + "-" * 1000 + "-->{}<![CDATA[ ]]><?php x ?>",
    ],
)
async def test_a_malformed_page_is_read(around: str) -> None:
    text = "<p>The river of Zorland is the Tessin, which is long and very deep.</p>"
    parsed = await parse("html", f"<html><body>{around.format(text)}</body></html>")
    assert "The river of Zorland is the Tessin" in parsed.text


async def test_a_page_that_takes_too_long_is_stopped_and_the_next_is_read() -> None:
    hostile = "<p " + " ".join(f"a{number}=1" for number in range(100_000)) + ">text"
    with pytest.raises(PageSkippedError, match=r"unreadable: not parsed within 0\.2 s"):
        await parse("html", f"<html><body>{hostile}</body></html>", timeout_s=0.2)
    assert "Zorlandville" in (await parse("html", fact("Zorland"))).text


async def test_a_hostile_page_costs_one_page(site: Site) -> None:
    attributes = " ".join(f"a{number}=1" for number in range(100_000))
    site.page("/hostile", f"<html><body><p {attributes}>text</p></body></html>")
    site.page("/good", fact("Good"))
    pages = source(site, [site.url("/hostile"), site.url("/good")], parse_timeout_s=1.0)
    (document,) = await documents(pages)
    assert document.metadata["title"] == "Good"
    assert reasons(pages) == {"/hostile": "unreadable"}


def test_a_parser_that_dies_costs_one_page() -> None:
    pool = ParserPool(1)
    job = PageJob(kind="text", url="http://site.test/a", max_pdf_pages=3)
    assert pool.answer(job, b"one", 20.0) == Parsed(text="one")
    (process,) = pool._idle
    process._process.kill()
    process._process.wait()
    assert pool.answer(job, b"two", 20.0) == Parsed(text="two")
    (process,) = pool._idle
    pool.close()
    assert process._process.returncode == -signal.SIGKILL
    assert not process.alive
    with pytest.raises(PageSkippedError, match="its parser died"):
        process.answer(job, b"three", 20.0)


def test_a_program_without_main_guard_can_parse_and_ends() -> None:
    """And so do the parsers, with it."""
    program = """
        from stream2llm_rag.sources.web._parsing import _POOL, PageJob
        job = PageJob(kind="text", url="http://site.test/a", max_pdf_pages=3)
        print(_POOL.answer(job, b"read", 60.0).text)
        print(_POOL._idle[0]._process.pid)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    text, pid = done.stdout.split()
    assert (text, done.stderr) == ("read", "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


GERMAN = (
    "Die Königin fährt täglich über die Brücke nach Köln. Dort hört sie, während es draußen stürmt,"
    " den Bürgern zu: Über höhere Löhne, über schöne Gärten und über Straßen, die früher größer"
    " waren. Am Abend kehrt sie müde zurück, und niemand weiß, ob sie morgen wieder fährt."
)


@pytest.mark.parametrize(
    ("body", "charset", "expected"),
    [
        ("Übergröße", "utf-8", "Übergröße"),
        ("Übergröße".encode("latin-1"), "ISO-8859-1", "Übergröße"),
        ("Übergröße", None, "Übergröße"),
        ("Übergröße", "no-such-charset", "Übergröße"),
        ("Übergröße", "idna", "Übergröße"),
        ("Übergröße", "zip", "Übergröße"),
        ("Übergröße", "a\0b", "Übergröße"),
        ("Übergröße".encode("utf-8-sig"), "latin-1", "Übergröße"),
        ("Übergröße".encode("utf-16"), "utf-8", "Übergröße"),
        ("Das größte Übel. ".encode() * 100 + b"\xff", "utf-8", None),
        (GERMAN.encode("latin-1"), "utf-8", GERMAN),
        (GERMAN.encode("latin-1"), None, GERMAN),
        (b"", "utf-8", ""),
    ],
)
def test_charsets(body: bytes | str, charset: str | None, expected: str | None) -> None:
    raw = body.encode() if isinstance(body, str) else body
    text = decoded(raw, charset)
    if expected is None:
        assert "ö" in text
        assert "Ã" not in text
    else:
        assert text == expected


async def test_a_page_may_name_its_own_charset() -> None:
    html = article("Die Königin von Zörland heißt Ärmina und trägt gern Grün.")
    html = html.replace("<head>", '<head><meta charset="iso-8859-1">')
    parsed = await parse("html", html.encode("latin-1"))
    assert "Königin von Zörland heißt Ärmina" in parsed.text


async def test_pdf_files() -> None:
    parsed = await parse("pdf", pdf("One.", "Two.", "Three.", "Four."))
    assert (parsed.text, parsed.truncated) == ("One.\n\nTwo.\n\nThree.", True)
    parsed = await parse("pdf", pdf("One.", owner_password="owner"))
    assert (parsed.text, parsed.truncated) == ("One.", False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (pdf("One.", password="secret"), "unreadable: it has a password"),
        (pdf(""), "empty: no text"),
        (pdf("One.")[:200], "unreadable"),
        (b"%PDF-1.7 nothing more", "unreadable"),
        (b"", "unreadable"),
        (b"<html>", "unreadable"),
    ],
)
async def test_pdf_files_that_cannot_be_read(body: bytes, expected: str) -> None:
    with pytest.raises(PageSkippedError, match=expected):
        await parse("pdf", body)


async def test_text_that_is_none() -> None:
    with pytest.raises(PageSkippedError, match="unreadable: it is not text"):
        await parse("text", b"PK\x03\x04\x00\x00\x00\x00")
    with pytest.raises(PageSkippedError, match="empty"):
        await parse("text", " \n ")


async def test_links_are_absolute_and_those_to_follow() -> None:
    html = fact("Zorland").replace("<head>", "<head><base href='/base/'>")
    html = html.replace(
        "</article>",
        "<a href='x'>x</a><a href=' /y#z '>y</a><a rel='nofollow' href='n'>n</a><a>none</a>"
        "<a href='x'>again</a></article>",
    )
    parsed = await parse("html", html, links=True)
    assert parsed.links == (
        "http://site.test/",
        "http://site.test/login",
        "http://site.test/base/x",
        "http://site.test/y#z",
    )
    assert (await parse("html", html)).links == ()
