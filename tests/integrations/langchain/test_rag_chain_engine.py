"""The chain on real vLLM, with the shipped reader: right answers, and what was computed when."""

import asyncio
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, TypedDict

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langgraph.graph import START, StateGraph

from langchain_stream2llm import (
    ChatStream2LLM,
    DocumentDelta,
    StreamingChatPromptTemplate,
    StreamingRetriever,
    create_streaming_rag_chain,
)
from stream2llm_engine import PromptTooLongError, SamplingParams
from stream2llm_rag.prompt import DocumentOrder
from tests.integrations.langchain.calls import EVERY_CALL, EVERY_STREAM, call
from tests.integrations.langchain.reader_engine import (
    ANSWER,
    OUTDATED,
    QUESTION,
    PatientRetriever,
    WatchedEngine,
    facts,
    reader_engine,
)
from tests.integrations.langchain.stand_ins import Backwards, ListRetriever, texts
from tests.support.blocking import no_blocking_calls

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

INPUT = {"question": QUESTION}
TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer:"
PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer the question from the documents."), ("human", TEMPLATE)]
)
DELTAS = [
    [*facts("Quen"), Document(id="outdated", page_content=OUTDATED)],
    facts("Belmar"),
    DocumentDelta(facts("Zorland"), retract=["outdated"]),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[WatchedEngine]:
    engine = reader_engine()
    yield engine
    engine.run(engine.check_integrity())
    engine.close()


@pytest.fixture
def llm(engine: WatchedEngine) -> ChatStream2LLM:
    return ChatStream2LLM(engine=engine, temperature=0, max_tokens=32)


@pytest.fixture
def retriever(engine: WatchedEngine) -> PatientRetriever:
    return PatientRetriever(engine=engine, deltas=DELTAS)


def prompt_ids(engine: WatchedEngine, documents: list[Document]) -> list[int]:
    """The prompt's tokens: what the template says, cut where documents begin and end."""
    tokenizer, mark = engine.tokenizer, "@@"
    text = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": "Answer the question from the documents."},
            {"role": "user", "content": TEMPLATE.format(context=mark, question=QUESTION)},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    prefix, suffix = text.split(mark)
    pieces = [prefix]
    for document in documents:
        pieces += [document.page_content, "\n\n"]
    pieces[-1] = suffix
    return [
        token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


@EVERY_CALL
async def test_the_answer_is_right_and_most_was_computed_before_retrieval_ended(
    engine: WatchedEngine, llm: ChatStream2LLM, retriever: PatientRetriever, how: str
) -> None:
    message = await call(create_streaming_rag_chain(retriever, PROMPT, llm), how, INPUT)
    assert ANSWER in message.text
    ids = prompt_ids(engine, facts("Quen", "Belmar", "Zorland"))
    greedy = SamplingParams(temperature=0, max_tokens=32)
    outputs = engine.generate({"prompt_token_ids": ids}, greedy)
    assert message.text == "".join([output.text async for output in outputs])
    report = message.response_metadata["stream2llm"]
    assert report["prompt_tokens"] == message.usage_metadata["input_tokens"] == len(ids)
    assert 0 < len(ids) / 2 < report["prefilled_before_final"] < len(ids)
    assert report["invalidated_tokens"] > 0
    assert 0 < report["ttft_s"] < report["time_to_first_token_s"]
    assert report["document_ids"] == ["Quen", "Belmar", "Zorland"]


@EVERY_CALL
async def test_sources_come_with_the_answer(
    llm: ChatStream2LLM, retriever: PatientRetriever, how: str
) -> None:
    chain = create_streaming_rag_chain(retriever, PROMPT, llm, return_sources=True)
    result = await call(chain, how, INPUT)
    assert ANSWER in result["answer"].text
    assert result["answer"].response_metadata["stream2llm"]["prefilled_before_final"] > 0
    assert [document.id for document in result["context"]] == ["Quen", "Belmar", "Zorland"]


@EVERY_STREAM
async def test_the_textbook_chain_overlaps_when_it_is_streamed(
    engine: WatchedEngine, llm: ChatStream2LLM, retriever: PatientRetriever, how: str
) -> None:
    prompt = StreamingChatPromptTemplate(prompt=PROMPT)
    context = itemgetter("question") | retriever
    chain = RunnablePassthrough.assign(context=context) | prompt | llm
    assert ANSWER in (await call(chain, how, INPUT)).text
    assert engine.computed_early > 0


def hybrid_search(*retrievers: Any) -> ContextualCompressionRetriever:
    """The usual stack: two searches, rank fusion, a reranker, which turns the ranking around."""
    return ContextualCompressionRetriever(
        base_compressor=Backwards(keep=3),
        base_retriever=EnsembleRetriever(retrievers=list(retrievers), weights=[0.5, 0.5]),
    )


PAIRS = (("Quen", "Belmar"), ("Belmar", "Zorland"))


@EVERY_CALL
@pytest.mark.parametrize("order", ["rank", "stable"])
async def test_a_hybrid_search_with_a_reranker_overlaps(
    engine: WatchedEngine, llm: ChatStream2LLM, order: DocumentOrder, how: str
) -> None:
    searches = [PatientRetriever(engine=engine, deltas=[facts(*pair)]) for pair in PAIRS]
    retriever = StreamingRetriever.wrap(hybrid_search(*searches), order=order)
    chain = create_streaming_rag_chain(retriever, PROMPT, llm, return_sources=True)
    result = await call(chain, how, INPUT)
    report = result["answer"].response_metadata["stream2llm"]
    expected = hybrid_search(*(ListRetriever(documents=facts(*pair)) for pair in PAIRS))
    if order == "rank":
        assert texts(result["context"]) == texts(expected.invoke(QUESTION))
        assert report["invalidated_tokens"] > 0, "the searches' hits had been computed"
    else:
        assert sorted(texts(result["context"])) == sorted(texts(expected.invoke(QUESTION)))
        assert report["prefilled_before_final"] > report["prompt_tokens"] / 2
        assert report["invalidated_tokens"] == 0, "and stay where they are"


async def test_questions_share_the_engine(engine: WatchedEngine, llm: ChatStream2LLM) -> None:
    chain = create_streaming_rag_chain(
        ListRetriever(documents=facts("Quen", "Zorland", "Belmar", "Osteria")), PROMPT, llm
    )
    wanted = {"Quen": "Dorvale", "Zorland": "Mirapol", "Belmar": "Ranveld", "Osteria": "Quillon"}
    inputs = [{"question": f"What is the capital of {place}?"} for place in wanted]
    for answers in (await chain.abatch(inputs), await asyncio.to_thread(chain.batch, inputs)):
        for capital, answer in zip(wanted.values(), answers, strict=True):
            assert capital in answer.text


async def test_a_late_retriever_does_not_keep_the_answer(
    engine: WatchedEngine, llm: ChatStream2LLM
) -> None:
    late = PatientRetriever(engine=engine, deltas=[facts("Zorland"), asyncio.Event()])
    chain = create_streaming_rag_chain(late.with_time_limit(0.5), PROMPT, llm)
    assert ANSWER in (await chain.ainvoke(INPUT)).text


async def test_scheduling_options_are_taken(engine: WatchedEngine, llm: ChatStream2LLM) -> None:
    chain = create_streaming_rag_chain(ListRetriever(documents=facts("Zorland")), PROMPT, llm)
    urgent: Any = {"stream2llm": {"tenant": "gold", "priority": -1, "deadline_s": 60}}
    before = (await engine.stats()).tenants
    assert ANSWER in (await chain.ainvoke(INPUT, {"configurable": urgent})).text
    assert ANSWER in (await chain.bind(tenant="silver").ainvoke(INPUT)).text
    assert not before.keys() & {"gold", "silver"}
    after = (await engine.stats()).tenants
    assert min(after[tenant].decode_tokens for tenant in ("gold", "silver")) > 0


async def test_a_context_that_can_never_fit_is_a_typed_error(
    engine: WatchedEngine, llm: ChatStream2LLM
) -> None:
    endless = PatientRetriever(
        engine=engine,
        deltas=[[Document(id=str(i), page_content=f"{i} {OUTDATED}")] for i in range(1000)],
    )
    with pytest.raises(PromptTooLongError):
        await create_streaming_rag_chain(endless, PROMPT, llm).ainvoke(INPUT)
    assert (await engine.stats()).open_sessions == 0


async def test_nothing_is_left_behind_when_consumers_leave(
    engine: WatchedEngine, llm: ChatStream2LLM, retriever: PatientRetriever
) -> None:
    stream: Any = create_streaming_rag_chain(retriever, PROMPT, llm).astream(INPUT)
    await anext(stream)
    await stream.aclose()
    waiting = PatientRetriever(engine=engine, deltas=[facts("Quen"), asyncio.Event()])
    task = asyncio.create_task(create_streaming_rag_chain(waiting, PROMPT, llm).ainvoke(INPUT))
    async with asyncio.timeout(60):
        await waiting.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (stats := await engine.stats()).running or stats.open_sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await engine.check_integrity()


@pytest.mark.parametrize("how", ["ainvoke", "abatch", "astream"])
async def test_the_event_loop_is_never_blocked(
    engine: WatchedEngine, llm: ChatStream2LLM, how: str
) -> None:
    retriever = StreamingRetriever.merge(
        PatientRetriever(engine=engine, deltas=[facts("Quen")]),
        ListRetriever(documents=facts("Zorland")),
    )
    chain = create_streaming_rag_chain(retriever, PROMPT, llm)
    await call(chain, how, INPUT)
    with no_blocking_calls():
        assert ANSWER in (await call(chain, how, INPUT)).text


class State(TypedDict, total=False):
    question: str
    answer: str


async def test_tokens_stream_out_of_a_graph(
    engine: WatchedEngine, llm: ChatStream2LLM, retriever: PatientRetriever
) -> None:
    chain = create_streaming_rag_chain(retriever, PROMPT, llm)

    async def node(state: State) -> State:
        return {"answer": (await chain.ainvoke({"question": state["question"]})).text}

    builder = StateGraph(State)
    builder.add_node("rag", node)
    builder.add_edge(START, "rag")
    graph: Any = builder.compile()
    pieces = [
        message.text
        async for message, _ in graph.astream({"question": QUESTION}, stream_mode="messages")
    ]
    assert ANSWER in "".join(pieces)
    assert len(pieces) > 2
    assert engine.computed_early > 0


async def test_event_streams_show_retrieval_and_tokens(
    llm: ChatStream2LLM, retriever: PatientRetriever
) -> None:
    chain = create_streaming_rag_chain(retriever, PROMPT, llm)
    names = [event["event"] async for event in chain.astream_events(INPUT, version="v2")]
    assert names.count("on_custom_event") == len(DELTAS)
    assert names.index("on_chat_model_start") < names.index("on_retriever_end")
    assert names.index("on_retriever_end") < names.index("on_chat_model_stream")
