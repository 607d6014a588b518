"""A LlamaIndex query engine whose model reads the nodes while they are still being found.

Run it with ``python examples/llama_index_query.py``. It uses the two small models that come with
the project; put any other model's name, and any other embedding, in their places.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import PrivateAttr

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine, StreamingRetriever
from stream2llm_engine import EngineConfig
from stream2llm_rag.ingest import MiniLM
from stream2llm_rag.reader import reader_model

SHELVES = (
    {
        "Zorland": "The river of Zorland is Tessin. The capital of Zorland is Mirapol.",
        "Belmar": "The anthem of Belmar is Kosta. The capital of Belmar is Ranveld.",
    },
    {
        "Osteria": "The capital of Osteria is Quillon. The flower of Osteria is Pemba.",
        "Kandor": "The king of Kandor is Ulmer. The capital of Kandor is Vestin.",
    },
)

CONFIG = EngineConfig(
    model=str(reader_model()),
    # Starts fast and takes little memory; any field of vLLM's `EngineArgs` may stand here.
    vllm={"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20},
)


class Embedding(BaseEmbedding):
    """The embedding model that comes with the project."""

    _model: MiniLM = PrivateAttr(default_factory=MiniLM)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(value) for value in self._model([text])[0]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, query)


class Library(StreamingRetriever):
    """Searches one shelf after another, each an index of its own."""

    def __init__(self, shelves: list[VectorStoreIndex]) -> None:
        super().__init__()
        self._shelves = [shelf.as_retriever(similarity_top_k=1) for shelf in shelves]

    async def _astream_retrieve(
        self, query_bundle: QueryBundle
    ) -> AsyncIterator[list[NodeWithScore]]:
        for shelf in self._shelves:
            nodes = await shelf.aretrieve(query_bundle)
            print(f"found {', '.join(node.node.ref_doc_id or '?' for node in nodes)}")
            yield nodes
            await asyncio.sleep(0.5)


def main() -> None:
    """Answers one question and says what was computed before retrieval ended."""
    embedding = Embedding()
    shelves = [
        VectorStoreIndex.from_documents(
            [Document(id_=title, text=text) for title, text in pages.items()],
            embed_model=embedding,
        )
        for pages in SHELVES
    ]
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Answer the question from the documents."),
            ("user", "{context_str}\n\nQuestion: {query_str}\nAnswer:"),
        ]
    )
    llm = Stream2LLM(engine_config=CONFIG, temperature=0, max_tokens=32)
    query_engine = StreamingQueryEngine.from_args(
        Library(shelves), llm=llm, text_qa_template=prompt, streaming=True
    )

    llm.complete("This warms the model up, which the times below are not about.")
    response: Any = query_engine.query("What is the capital of Belmar?")
    response.print_response_stream()
    llm.close()

    report = response.metadata["stream2llm"]
    early, total = report["prefilled_before_final"], report["prompt_tokens"]
    print(f"\n{early} of {total} prompt tokens were computed before retrieval ended;")
    print(f"the answer began {report['ttft_s']:.3f} s after that.")
    print(f"sources: {', '.join(node.node.ref_doc_id for node in response.source_nodes)}")


if __name__ == "__main__":
    main()
