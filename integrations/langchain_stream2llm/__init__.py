"""LangChain integration: chat model, streaming retrievers and prompts, and a chain of them."""

from langchain_stream2llm._delta import DocumentDelta
from langchain_stream2llm._live_prompt import materialize
from langchain_stream2llm.chat_models import ChatStream2LLM
from langchain_stream2llm.prompts import StreamingChatPromptTemplate
from langchain_stream2llm.rag_chain import create_streaming_rag_chain
from langchain_stream2llm.retrievers import StreamingRetriever

__all__ = [
    "ChatStream2LLM",
    "DocumentDelta",
    "StreamingChatPromptTemplate",
    "StreamingRetriever",
    "create_streaming_rag_chain",
    "materialize",
]
