"""From a query engine to a streaming one, and the same for a chat engine."""

from typing import Any


def before(retriever: Any, llm: Any, prompt: Any) -> Any:
    """A query engine as LlamaIndex makes it."""
    from llama_index.core.query_engine import RetrieverQueryEngine

    return RetrieverQueryEngine.from_args(retriever, llm=llm, text_qa_template=prompt)


def after(retriever: Any, llm: Any, prompt: Any) -> Any:
    """The same, streaming."""
    from llama_index.llms.stream2llm import StreamingQueryEngine

    return StreamingQueryEngine.from_args(retriever, llm=llm, text_qa_template=prompt)


def chat_before(retriever: Any, llm: Any, memory: Any) -> Any:
    """A chat engine as LlamaIndex makes it."""
    from llama_index.core.chat_engine import ContextChatEngine

    return ContextChatEngine.from_defaults(retriever, llm=llm, memory=memory)


def chat_after(retriever: Any, llm: Any, memory: Any) -> Any:
    """The same, streaming."""
    from llama_index.llms.stream2llm import StreamingContextChatEngine

    return StreamingContextChatEngine.from_defaults(retriever, llm=llm, memory=memory)
