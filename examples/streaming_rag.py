"""Two retrievers and a reranker without a framework: documents are prefilled as they arrive.

Run it with ``python examples/streaming_rag.py``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag import (
    ContextReceived,
    Document,
    Finished,
    RagPrompt,
    StreamingRAG,
    Token,
    from_retriever,
    merge,
    reader_model,
    rerank,
)


async def crawl(query: str) -> AsyncIterator[Document]:
    """Pages come one by one."""
    for place, capital in [("Quen", "Dorvale"), ("Zorland", "Mirapol"), ("Tessia", "Habrin")]:
        await asyncio.sleep(0.3)
        yield Document(id=place, text=f"The capital of {place} is {capital}.")


def search(query: str) -> list[Document]:
    """An ordinary blocking search; it runs in a thread."""
    time.sleep(0.5)
    return [Document(id="rivers", text="The river of Zorland is Bessel.")]


def about_the_place(query: str, documents: Sequence[Document]) -> list[Document]:
    """A reranker: keeps what mentions the place that is asked for."""
    place = query.rstrip("?").split()[-1]
    return [document for document in documents if place in document.text]


async def main() -> None:
    """Asks one question and shows everything that happens."""
    source = rerank(
        merge(from_retriever(crawl, timeout_s=10), from_retriever(search)), about_the_place
    )
    prompt = RagPrompt(question_template="Question: {question}\nAnswer:")
    config = EngineConfig(
        model=str(reader_model()),
        vllm={"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
    )
    async with StreamEngine(config) as engine:
        greedy = SamplingParams(temperature=0, max_tokens=32)
        rag = StreamingRAG(engine, source, prompt, sampling_params=greedy)
        async for event in rag.stream("What is the capital of Zorland?"):
            match event:
                case ContextReceived(change):
                    print(f"{change.kind}: {[document.id for document in change.documents]}")
                case Token(text):
                    print(text, end="", flush=True)
                case Finished(answer):
                    timing = answer.timing
                    print(f"\nfirst token {timing.ttft_s:.3f} s after the final context,")
                    print(f"{timing.time_to_first_token_s:.3f} s after the question")


if __name__ == "__main__":
    asyncio.run(main())
