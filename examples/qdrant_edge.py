"""Embedded Qdrant as the source: index, search and answer in one process, nothing to start.

Run it with ``python examples/qdrant_edge.py``.
"""

import asyncio
import tempfile
from pathlib import Path

from qdrant_stream2llm import EdgeSource, Stage
from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine
from stream2llm_rag import Document, RagPrompt, StreamingRAG, reader_model
from stream2llm_rag.ingest import MiniLM

FACTS = [
    ("Quen", "The capital of Quen is Dorvale. The river of Quen is Tessin."),
    ("Zorland", "The capital of Zorland is Mirapol. The river of Zorland is Bessel."),
    ("Tessia", "The capital of Tessia is Habrin. The river of Tessia is Orr."),
]


async def main() -> None:
    """Indexes three documents and asks about one of them."""
    documents = [Document(id=place, text=text) for place, text in FACTS]
    config = EngineConfig(
        model=str(reader_model()),
        vllm={"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index"
        with EdgeSource.create(path, documents, MiniLM(), [Stage(limit=2)]) as source:
            async with StreamEngine(config) as engine:
                rag = StreamingRAG(
                    engine,
                    source,
                    RagPrompt(question_template="Question: {question}\nAnswer:"),
                    sampling_params=SamplingParams(temperature=0, max_tokens=32),
                )
                answer = await rag.answer("What is the river of Zorland?")
    print(answer.text)
    for document in answer.documents:
        print(f"  {document.id}: {document.score:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
