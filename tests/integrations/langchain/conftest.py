"""Fixtures for the LangChain tests."""

from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain
from tests.integrations.langchain.fakes import FakeEngine, ScriptedRetriever, docs
from tests.support.chat_llama import load_chat_tokenizer


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def llm(engine: FakeEngine) -> ChatStream2LLM:
    return ChatStream2LLM(engine=engine, temperature=0)


@pytest.fixture
def prompt() -> ChatPromptTemplate:
    return ChatPromptTemplate.from_messages(
        [("system", "Be {manner}."), ("human", "Read:\n{context}\nQ: {question}")]
    )


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer whose chat template knows tools and reasoning."""
    return load_chat_tokenizer(tmp_path_factory.mktemp("chat-tokenizer"))


@pytest.fixture
def retriever(engine: FakeEngine) -> ScriptedRetriever:
    """Finds a document only after the engine got the one before."""
    return ScriptedRetriever(deltas=[docs("one"), docs("two"), docs("three")], engine=engine)


@pytest.fixture
def chain(retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM) -> Any:
    return create_streaming_rag_chain(retriever, prompt, llm)
