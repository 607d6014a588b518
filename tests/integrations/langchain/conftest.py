"""Fixtures for the LangChain tests."""

import pytest
from langchain_core.prompts import ChatPromptTemplate

from langchain_stream2llm import ChatStream2LLM
from tests.integrations.langchain.fakes import FakeEngine


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
