"""Web pages land one by one, and the model has read each before the next one is there.

Run it with ``python examples/web_crawl.py``: it crawls a small site that it serves itself. Or give
it pages: ``python examples/web_crawl.py --question "What is the capital of Zorland?" URL URL``. The
small model that comes with the project answers no other kind of question; put any other model's
name in its place.
"""

import argparse
import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network

from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagPrompt,
    StreamingRAG,
    Token,
    reader_model,
)
from stream2llm_rag.sources.web import WebConfig, WebSource

PLACES = {
    "Quen": "The capital of Quen is Dorvale. The river of Quen is Tessin.",
    "Zorland": "The capital of Zorland is Mirapol. The river of Zorland is Bessel.",
    "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
    "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
}

CONFIG = EngineConfig(
    model=str(reader_model()),
    # Starts fast and takes little memory; any field of vLLM's `EngineArgs` may stand here.
    vllm={"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
)


class Site(BaseHTTPRequestHandler):
    """A slow site about places, with a page that crawlers shall not read and one that leads away.

    The latter redirects to an address of this machine that nothing allows.
    """

    def do_GET(self) -> None:
        """Answers a request."""
        page = self.path.removeprefix("/")
        if page in PLACES:
            time.sleep(0.5)
            self._answer(
                f"<html><head><title>{page}</title></head><body><nav><a href='/'>Home</a></nav>"
                f"<article><p>{PLACES[page]}</p></article></body></html>"
            )
        elif page == "robots.txt":
            self._answer("User-agent: *\nDisallow: /drafts\n")
        elif page == "away":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{self.headers['Host'].split(':')[1]}/")
            self.end_headers()
        else:
            self.send_error(404)

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if text.startswith("<") else "text/plain")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keeps requests out of the output."""


@contextmanager
def local_site() -> Iterator[tuple[list[str], WebConfig]]:
    """Serves the site; yields its pages and what a crawl of them has to be allowed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_port
        pages = [f"http://127.0.0.1:{port}/{page}" for page in (*PLACES, "drafts", "away")]
        # Private addresses and unusual ports are refused. This allows one of each.
        own = WebConfig(allowed_networks=(IPv4Network("127.0.0.1"),), ports=frozenset({port}))
        try:
            yield pages, own
        finally:
            server.shutdown()


async def crawl(source: WebSource, question: str) -> None:
    """Asks one question and says what landed when, and what was computed before the crawl ended."""
    prompt = RagPrompt(
        document_template="{metadata[title]}\n{text}",
        question_template="Question: {question}\nAnswer:",
    )
    async with StreamEngine(CONFIG) as engine:
        greedy = SamplingParams(temperature=0, max_tokens=32)
        rag = StreamingRAG(engine, source, prompt, sampling_params=greedy)
        start_s = time.perf_counter()
        async for event in rag.stream(question):
            since_s = time.perf_counter() - start_s
            match event:
                case ContextReceived(change):
                    for page in change.documents:
                        print(f"{since_s:.2f} s: {page.metadata['url']} ({page.metadata['title']})")
                case ContextFinal(documents):
                    print(f"{since_s:.2f} s: the crawl has ended with {len(documents)} pages")
                case Token(text):
                    print(text, end="", flush=True)
                case Finished(answer):
                    timing = answer.timing
                    early, total = timing.prefilled_before_final, timing.prompt_tokens
                    print(f"\n{early} of {total} prompt tokens were computed before that;")
                    print(f"the answer began {timing.ttft_s:.3f} s after it.")
    if source.report is not None:
        for skipped in source.report.skipped:
            print(f"left out {skipped.url}: {skipped.reason}, {skipped.detail}")


def main() -> None:
    """Crawls the pages that the command line names, or those of the local site."""
    parser = argparse.ArgumentParser(description="Answers a question from web pages.")
    parser.add_argument("pages", nargs="*", metavar="URL", help="pages to read; public ones only")
    parser.add_argument("--question", default="What is the capital of Zorland?")
    arguments = parser.parse_args()
    if arguments.pages:
        asyncio.run(crawl(WebSource(arguments.pages), arguments.question))
    else:
        with local_site() as (pages, own):
            asyncio.run(crawl(WebSource(pages, own), arguments.question))


if __name__ == "__main__":
    main()
