"""The chain, on the fake engine.

``ScriptedRetriever(engine=...)`` yields a document only after the engine got the one before: what
does not overlap fails.
"""

import asyncio
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_stream2llm import ChatStream2LLM, DocumentDelta, create_streaming_rag_chain
from stream2llm_engine import InvalidRequestError, UnsupportedFeatureError
from stream2llm_rag import PromptTemplateError
from tests.integrations.langchain.calls import EVERY_CALL, INPUT, RENDERED, call, chunks_of
from tests.integrations.langchain.fakes import FakeEngine, ScriptedRetriever, docs
from tests.integrations.langchain.stand_ins import GatedRetriever, ListRetriever, PagesLoader


@EVERY_CALL
async def test_retrieval_and_prefill_overlap_in_every_method(
    chain: Runnable[Any, Any], engine: FakeEngine, how: str
) -> None:
    message = await call(chain, how)
    assert message.text == f"saw {RENDERED}"
    assert engine.operations == [
        ("append", "<system>Be kind.</system><user>Read:\n"),
        ("append", "one"),
        ("append", "\n\ntwo"),
        ("append", "\n\nthree"),
        ("finalize", "\nQ: why?</user><assistant>"),
    ]
    assert message.usage_metadata["input_tokens"] == len(RENDERED)
    report = message.response_metadata["stream2llm"]
    assert report["prefilled_before_final"] == len(RENDERED) - len("\nQ: why?</user><assistant>")
    assert report["retrieval_s"] > 0
    assert len(report["document_ids"]) == 3


@EVERY_CALL
async def test_the_prompt_is_the_one_an_ordinary_chain_builds(
    retriever: ScriptedRetriever,
    prompt: ChatPromptTemplate,
    llm: ChatStream2LLM,
    engine: FakeEngine,
    how: str,
) -> None:
    ordinary = prompt | llm
    await ordinary.ainvoke({**INPUT, "context": "one\n\ntwo\n\nthree"})
    await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    first, second = ("".join(text for _, text in s.operations) for s in engine.sessions)
    assert first == second == RENDERED


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_the_answer_comes_in_pieces(chain: Runnable[Any, Any], how: str) -> None:
    assert len(await chunks_of(chain, how)) > 1


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_the_inputs_of_a_batch_do_not_wait_for_each_other(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine, how: str
) -> None:
    """In a sequence of Runnables, a batch finishes one step before it starts the next."""

    class TwoQuestions(GatedRetriever):
        async def _astream_documents(self, query: str, *, run_manager: Any) -> Any:
            if query == "first":
                await engine.until_sent("about the second")
            yield docs(f"about the {query}")

    chain = create_streaming_rag_chain(TwoQuestions(deltas=[]), prompt, llm)
    inputs = [{**INPUT, "question": name} for name in ("first", "second")]
    if how == "batch":
        answers = await asyncio.to_thread(chain.batch, inputs)
    else:
        answers = await chain.abatch(inputs)
    for name, answer in zip(("first", "second"), answers, strict=True):
        assert f"about the {name}\nQ: {name}" in answer.text


async def test_documents_may_be_replaced_and_retracted(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    retriever = ScriptedRetriever(
        deltas=[
            docs(a="A", b="B"),
            DocumentDelta(docs(b="B2")),
            DocumentDelta(docs(c="C"), retract=["a"]),
        ],
        engine=engine,
    )
    message = await create_streaming_rag_chain(retriever, prompt, llm).ainvoke(INPUT)
    assert [kind for kind, _ in engine.operations] == [
        "append",
        "append",
        "update",
        "update",
        "finalize",
    ]
    assert "Read:\nB2\n\nC\nQ" in message.text
    assert message.response_metadata["stream2llm"]["document_ids"] == ["b", "c"]
    assert message.response_metadata["stream2llm"]["invalidated_tokens"] > 0


async def test_a_whole_new_ranking_is_followed(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    new_ranking = DocumentDelta(docs(b="B", c="C", a="A"), retract=["a", "b"])
    retriever = ScriptedRetriever(deltas=[docs(a="A", b="B"), new_ranking])
    message = await create_streaming_rag_chain(retriever, prompt, llm).ainvoke(INPUT)
    assert "Read:\nB\n\nC\n\nA\nQ" in message.text


async def test_documents_are_written_by_the_document_prompt(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    retriever = ScriptedRetriever(deltas=[[Document(page_content="x", metadata={"page": 3})]] * 2)
    chain = create_streaming_rag_chain(
        retriever,
        prompt,
        llm,
        document_prompt=PromptTemplate.from_template("[p. {page}] {page_content}"),
        document_separator=" + ",
    )
    assert "Read:\n[p. 3] x + [p. 3] x\nQ" in (await chain.ainvoke(INPUT)).text


async def test_names_of_keys_and_variables_are_free(
    retriever: ScriptedRetriever, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(
        retriever,
        PromptTemplate.from_template("{facts} - {query}"),
        llm,
        question_key="query",
        document_variable_name="facts",
    )
    message = await chain.ainvoke({"query": "why?"})
    assert message.text == "saw <user>one\n\ntwo\n\nthree - why?</user><assistant>"


@EVERY_CALL
@pytest.mark.parametrize(
    "retriever",
    [
        ListRetriever(documents=docs("one", "two")),
        ListRetriever(documents=docs("one", "two")).with_config(tags=["t"]),
        RunnableLambda(lambda _: docs("one", "two")),
        PagesLoader("one", "two"),
    ],
    ids=["retriever", "bound", "function", "loader"],
)
async def test_whatever_can_be_wrapped_is(
    retriever: Any, prompt: ChatPromptTemplate, llm: ChatStream2LLM, how: str
) -> None:
    message = await call(create_streaming_rag_chain(retriever, prompt, llm), how)
    assert "Read:\none\n\ntwo\nQ" in message.text


async def test_no_document_at_all_gives_an_empty_context(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    chain = create_streaming_rag_chain(ScriptedRetriever(deltas=[]), prompt, llm)
    assert "Read:\n\nQ: why?" in (await chain.ainvoke(INPUT)).text


async def test_input_without_a_variable_is_an_error(
    chain: Runnable[Any, Any], engine: FakeEngine
) -> None:
    with pytest.raises(InvalidRequestError, match="question"):
        await chain.ainvoke({"manner": "kind"})
    with pytest.raises(InvalidRequestError, match="manner"):
        await chain.ainvoke({"question": "why?"})
    assert not engine.sessions


def test_what_cannot_work_is_refused_at_once(
    retriever: ScriptedRetriever, prompt: ChatPromptTemplate, llm: ChatStream2LLM
) -> None:
    with pytest.raises(PromptTemplateError, match="context"):
        create_streaming_rag_chain(retriever, ChatPromptTemplate.from_template("{question}"), llm)
    nothing: Any = object()
    with pytest.raises(UnsupportedFeatureError, match="no retriever"):
        create_streaming_rag_chain(nothing, prompt, llm)


def test_it_describes_itself(chain: Runnable[Any, Any]) -> None:
    assert chain.get_name() == "streaming_rag_chain"
    assert "streaming_rag_chain" in chain.get_graph().draw_mermaid()
    assert chain.get_input_jsonschema()["type"] == "object"
