"""Existing stores of LangChain and LlamaIndex, the real ones, on the client in this process."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode
from langchain_qdrant.sparse_embeddings import SparseEmbeddings, SparseVector
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.vector_stores.qdrant import QdrantVectorStore as LlamaVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from qdrant_stream2llm import QdrantSource, Rerank, Stage
from stream2llm_rag import ContextSourceError, Document
from tests.integrations.qdrant.embedding import SIZE, embed, embed_sparse
from tests.rag.sources.scripted import final

TEXTS = [
    "apple trees grow in cold orchards",
    "banana plants grow in warm valleys",
    "cherry trees flower in warm spring",
]


class WordEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, row)) for row in embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class WordSparse(SparseEmbeddings):
    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        return [SparseVector(indices=v.indices, values=v.values) for v in embed_sparse(texts)]

    def embed_query(self, text: str) -> SparseVector:
        return self.embed_documents([text])[0]


class WordEmbedding(BaseEmbedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        return WordEmbeddings().embed_query(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return WordEmbeddings().embed_query(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


async def found(source: QdrantSource, query: str) -> tuple[Document, ...]:
    return final([event async for event in source.stream(query)])


def langchain_store(**options: Any) -> QdrantVectorStore:
    documents = [
        LangChainDocument(page_content=text, metadata={"page": page})
        for page, text in enumerate(TEXTS)
    ]
    return QdrantVectorStore.from_documents(
        documents, WordEmbeddings(), location=":memory:", collection_name="fruit", **options
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"vector_name": "body", "content_payload_key": "body", "metadata_payload_key": "about"},
        {"retrieval_mode": RetrievalMode.SPARSE, "sparse_embedding": WordSparse()},
        {"retrieval_mode": RetrievalMode.HYBRID, "sparse_embedding": WordSparse()},
    ],
)
async def test_a_source_finds_what_the_langchain_store_finds(options: dict[str, Any]) -> None:
    store = langchain_store(**options)
    query = "cherry trees in warm valleys"
    expected = store.similarity_search_with_score(query, k=2)
    documents = await found(QdrantSource.from_vector_store(store, limit=2), query)
    assert [document.text for document in documents] == [doc.page_content for doc, _ in expected]
    assert [document.id for document in documents] == [doc.metadata["_id"] for doc, _ in expected]
    assert [document.score for document in documents] == pytest.approx([s for _, s in expected])
    assert [{"page": doc.metadata["page"]} for doc, _ in expected] == [
        document.metadata for document in documents
    ]


async def test_stages_and_filters_of_ones_own() -> None:
    page = models.FieldCondition(key="metadata.page", range=models.Range(gte=1))
    source = QdrantSource.from_vector_store(
        langchain_store(),
        stages=[Stage(limit=3), Rerank(reranker=lambda query, ranked: ranked[::-1])],
        query_filter=models.Filter(must=[page]),
    )
    documents = await found(source, "banana")
    assert [document.metadata["page"] for document in documents] == [2, 1]


def llama_sparse(texts: Sequence[str]) -> tuple[list[list[int]], list[list[float]]]:
    vectors = embed_sparse(texts)
    return [vector.indices for vector in vectors], [vector.values for vector in vectors]


def llama_nodes() -> list[TextNode]:
    return [
        TextNode(id_=f"00000000-0000-0000-0000-00000000000{page}", text=text, metadata={"p": page})
        for page, text in enumerate(TEXTS)
    ]


@pytest.mark.parametrize("hybrid", [False, True])
async def test_a_source_finds_what_the_llama_index_store_finds(hybrid: bool) -> None:
    store = LlamaVectorStore(
        collection_name="fruit",
        client=QdrantClient(":memory:"),
        enable_hybrid=hybrid,
        index_doc_id=False,
        sparse_doc_fn=llama_sparse,
        sparse_query_fn=llama_sparse,
    )
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(llama_nodes(), storage_context=context, embed_model=WordEmbedding())
    query = "cherry trees in warm valleys"
    expected = index.as_retriever(similarity_top_k=2).retrieve(query)
    source = QdrantSource.from_vector_store(store, WordEmbedding(), limit=2)
    documents = await found(source, query)
    in_store = {
        each.node.node_id: Document(
            id=each.node.node_id,
            text=each.node.get_content(),
            metadata=each.node.metadata,
        )
        for each in expected
    }
    scores = [document.score for document in documents]
    assert [document.model_copy(update={"score": None}) for document in documents] == [
        in_store[document.id] for document in documents
    ]
    if not hybrid:  # the store fuses by relative score, the source by rank
        assert [document.id for document in documents] == list(in_store)
        assert scores == pytest.approx([each.score for each in expected])


async def test_the_async_client_of_a_llama_index_store_is_used() -> None:
    client = AsyncQdrantClient(":memory:")
    store = LlamaVectorStore(collection_name="fruit", aclient=client, index_doc_id=False)
    nodes = llama_nodes()
    for node in nodes:
        node.embedding = WordEmbeddings().embed_query(node.text)
    await store.async_add([*nodes])
    source = QdrantSource.from_vector_store(store, WordEmbedding(), limit=1)
    assert [document.text for document in await found(source, "cold orchards")] == TEXTS[:1]
    await client.close()


async def test_points_that_are_no_nodes_are_typed() -> None:
    client = QdrantClient(":memory:")
    vectors = {"text-dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)}
    client.create_collection("fruit", vectors_config=vectors)
    vector = WordEmbeddings().embed_query("apple")
    point = models.PointStruct(
        id=1, vector={"text-dense": vector}, payload={"_node_content": json.dumps({"id_": 3})}
    )
    client.upsert("fruit", [point])
    store = LlamaVectorStore(collection_name="fruit", client=client)
    source = QdrantSource.from_vector_store(store, WordEmbedding())
    with pytest.raises(ContextSourceError, match="reading point 1 as a node of LlamaIndex"):
        await found(source, "apple")


def test_what_is_missing_is_said() -> None:
    store = LlamaVectorStore(collection_name="fruit", client=QdrantClient(":memory:"))
    with pytest.raises(ValueError, match="embed_model"):
        QdrantSource.from_vector_store(store)
    with pytest.raises(TypeError, match=r"not a QdrantVectorStore.*QdrantSource\(client"):
        QdrantSource.from_vector_store(object())
