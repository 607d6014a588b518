"""LangChain's document compressors as rerankers of the core."""

from collections.abc import Sequence

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_stream2llm._documents import from_core, to_core
from stream2llm_rag.documents import Document as CoreDocument
from stream2llm_rag.sources import Reranker

__all__ = ["reranker_of"]


def reranker_of(
    compressor: BaseDocumentCompressor, run_manager: AsyncCallbackManagerForRetrieverRun
) -> Reranker:
    """Makes a reranker of a compressor; it is synchronous if the compressor is."""

    def compress(query: str, found: tuple[CoreDocument, ...]) -> Sequence[CoreDocument]:
        callbacks = run_manager.get_sync().get_child()
        kept = compressor.compress_documents([*map(from_core, found)], query, callbacks)
        return _recognized(kept, found)

    async def acompress(query: str, found: tuple[CoreDocument, ...]) -> Sequence[CoreDocument]:
        callbacks = run_manager.get_child()
        kept = await compressor.acompress_documents([*map(from_core, found)], query, callbacks)
        return _recognized(kept, found)

    inherited = BaseDocumentCompressor.acompress_documents
    return compress if type(compressor).acompress_documents is inherited else acompress


def _recognized(
    kept: Sequence[Document], found: Sequence[CoreDocument]
) -> tuple[CoreDocument, ...]:
    """Converts what a compressor kept; it may have copied documents without their ids."""
    ids = {document.text: document.id for document in found}
    return to_core(
        document
        if document.id
        else document.model_copy(update={"id": ids.get(document.page_content)})
        for document in kept
    )
