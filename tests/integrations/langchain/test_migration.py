"""From a chain that waits for its documents to one that does not: two statements.

What stands before is as LangChain's documentation has it. ``ChatOpenAI`` is played by the same
reader behind a complete prompt, because there is no network here.
"""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_stream2llm import (
    ChatStream2LLM,
    StreamingChatPromptTemplate,
    create_streaming_rag_chain,
)
from tests.integrations.langchain.calls import EVERY_CALL, EVERY_STREAM, call
from tests.integrations.langchain.reader_engine import (
    ANSWER,
    QUESTION,
    PatientRetriever,
    WatchedEngine,
    facts,
    reader_engine,
)
from tests.integrations.langchain.stand_ins import ListRetriever

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

# A chain in LangChain's expression language.
LCEL = """
llm = ChatOpenAI(model="gpt-5-mini")
rag = {"context": retriever | format_docs, "question": RunnablePassthrough()} | prompt | llm
chain = rag | StrOutputParser()
"""
STREAMING_LCEL = """
llm = ChatStream2LLM(model="Qwen/Qwen3-0.6B")
rag = {"question": RunnablePassthrough()} | create_streaming_rag_chain(retriever, prompt, llm)
chain = rag | StrOutputParser()
"""

# The ready-made chain, which returns the sources as well.
READY_MADE = """
llm = ChatOpenAI(model="gpt-5-mini")
chain = create_retrieval_chain(retriever, create_stuff_documents_chain(llm, prompt))
"""
STREAMING_READY_MADE = """
llm = ChatStream2LLM(model="Qwen/Qwen3-0.6B") | StrOutputParser()
chain = create_streaming_rag_chain(
    retriever, prompt, llm, question_key="input", return_sources=True
)
"""

# The expression as it is, for a chain that is always streamed.
STREAMED = """
llm = ChatStream2LLM(model="Qwen/Qwen3-0.6B")
prompt = ChatPromptTemplate.from_messages(messages)
sources = {"context": retriever | format_docs, "question": RunnablePassthrough()}
chain = sources | prompt | llm | StrOutputParser()
"""
STREAMING_STREAMED = """
llm = ChatStream2LLM(model="Qwen/Qwen3-0.6B")
prompt = StreamingChatPromptTemplate.from_messages(messages)
sources = {"context": retriever, "question": RunnablePassthrough()}
chain = sources | prompt | llm | StrOutputParser()
"""

MESSAGES = [
    ("system", "Answer the question from the documents."),
    ("human", "{context}\n\nQuestion: {question}\nAnswer:"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[WatchedEngine]:
    engine = reader_engine()
    yield engine
    engine.close()


def chain_of(code: str, engine: WatchedEngine, retriever: Any, messages: Any = MESSAGES) -> Any:
    """Runs the code with the reader in the place of the models it names."""
    reader = ChatStream2LLM(engine=engine, temperature=0, max_tokens=32)
    names = {
        "ChatOpenAI": lambda model: reader,
        "ChatStream2LLM": lambda model: reader,
        "ChatPromptTemplate": ChatPromptTemplate,
        "RunnablePassthrough": RunnablePassthrough,
        "StreamingChatPromptTemplate": StreamingChatPromptTemplate,
        "StrOutputParser": StrOutputParser,
        "create_retrieval_chain": create_retrieval_chain,
        "create_streaming_rag_chain": create_streaming_rag_chain,
        "create_stuff_documents_chain": create_stuff_documents_chain,
        "format_docs": lambda documents: "\n\n".join(d.page_content for d in documents),
        "messages": messages,
        "prompt": ChatPromptTemplate.from_messages(messages),
        "retriever": retriever,
    }
    exec(code, names)
    return names["chain"]


def statements(code: str) -> list[str]:
    return [ast.unparse(statement) for statement in ast.parse(code).body]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LCEL, STREAMING_LCEL),
        (READY_MADE, STREAMING_READY_MADE),
        (STREAMED, STREAMING_STREAMED),
    ],
    ids=["lcel", "ready-made", "streamed"],
)
def test_two_statements_change(before: str, after: str) -> None:
    pairs = list(zip(statements(before), statements(after), strict=True))
    assert sum(old != new for old, new in pairs) == 2


def patient(engine: WatchedEngine) -> PatientRetriever:
    return PatientRetriever(engine=engine, deltas=[facts("Quen"), facts("Zorland")])


WAITING = ListRetriever(documents=facts("Quen", "Zorland"))


@EVERY_CALL
async def test_a_chain_in_expression_language(engine: WatchedEngine, how: str) -> None:
    before = await call(chain_of(LCEL, engine, WAITING), how, QUESTION)
    assert engine.computed_early == 0
    after = await call(chain_of(STREAMING_LCEL, engine, patient(engine)), how, QUESTION)
    assert engine.computed_early > 0
    assert ANSWER in before
    assert after == before


@EVERY_CALL
async def test_the_ready_made_chain(engine: WatchedEngine, how: str) -> None:
    messages = [(role, text.replace("{question}", "{input}")) for role, text in MESSAGES]
    before = await call(chain_of(READY_MADE, engine, WAITING, messages), how, {"input": QUESTION})
    assert engine.computed_early == 0
    after = await call(
        chain_of(STREAMING_READY_MADE, engine, patient(engine), messages), how, {"input": QUESTION}
    )
    assert engine.computed_early > 0
    assert ANSWER in before["answer"]
    assert after == before


@EVERY_STREAM
async def test_a_streamed_expression(engine: WatchedEngine, how: str) -> None:
    before = await call(chain_of(STREAMED, engine, WAITING), how, QUESTION)
    assert engine.computed_early == 0
    after = await call(chain_of(STREAMING_STREAMED, engine, patient(engine)), how, QUESTION)
    assert engine.computed_early > 0
    assert ANSWER in before
    assert after == before
