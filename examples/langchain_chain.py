"""A LangChain chain whose model reads the documents while they are still being found.

Run it with ``python examples/langchain_chain.py``. It uses the small model that comes with the
project; put any other model's name in its place.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate

from langchain_stream2llm import ChatStream2LLM, StreamingRetriever, create_streaming_rag_chain
from stream2llm_rag.reader import reader_model

PAGES = {
    "Zorland": "The river of Zorland is Tessin. The capital of Zorland is Mirapol.",
    "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
    "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
    "Tarnwood": "The river of Tarnwood is Isel. The capital of Tarnwood is Dorvale.",
}

SMALL = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20}
"""Starts fast and takes little memory; any field of vLLM's ``EngineArgs`` may stand here."""


class Crawler(StreamingRetriever):
    """Finds one page after another, as a crawl or a search in several indexes does."""

    async def _astream_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> AsyncIterator[list[Document]]:
        for title, text in PAGES.items():
            await asyncio.sleep(0.5)
            print(f"found {title}")
            yield [Document(id=title, page_content=text)]


def main() -> None:
    """Answers one question and says what was computed before retrieval ended."""
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Answer the question from the documents."),
            ("human", "{context}\n\nQuestion: {question}\nAnswer:"),
        ]
    )
    llm = ChatStream2LLM(
        model=str(reader_model()), temperature=0, max_tokens=32, engine_options={"vllm": SMALL}
    )
    chain = create_streaming_rag_chain(Crawler(), prompt, llm)

    llm.invoke("This loads the model and warms it up, which the times below are not about.")
    report: dict[str, Any] = {}
    for chunk in chain.stream({"question": "What is the capital of Belmar?"}):
        print(chunk.text, end="", flush=True)
        report = chunk.response_metadata.get("stream2llm", report)
    llm.close()

    early, total = report["prefilled_before_final"], report["prompt_tokens"]
    print(f"\n{early} of {total} prompt tokens were computed before retrieval ended;")
    print(f"the answer began {report['ttft_s']:.3f} s after that.")


if __name__ == "__main__":
    main()
