"""What observers of the chain see: callbacks, usage, event streams, traces."""

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_stream2llm import ChatStream2LLM
from langchain_stream2llm._context_prompt import (
    DEFAULT_DOCUMENT_PROMPT,
    ContextFormat,
    ContextPrompt,
)
from langchain_stream2llm._live_prompt import LivePrompt, LivePromptValue
from tests.integrations.langchain.calls import EVERY_CALL, INPUT, RENDERED, call
from tests.integrations.langchain.fakes import FakeEngine, Recorder, docs


@EVERY_CALL
async def test_callbacks_and_usage_are_those_of_an_ordinary_chain(
    chain: Runnable[Any, Any], how: str
) -> None:
    recorder, usage = Recorder(), UsageMetadataCallbackHandler()
    await call(chain, how, config={"callbacks": [recorder, usage]})
    streamed = how.endswith("stream")
    assert recorder.counts == {
        "chain_start": 1,
        "retriever_start": 1,
        "retriever_end": 1,
        "model_start": 1,
        "model_end": 1,
        "chain_end": 1,
        **({"token": len(RENDERED.split(" ")) + 1} if streamed else {}),
    }
    assert usage.usage_metadata["fake"]["input_tokens"] == len(RENDERED)


async def test_events_show_the_documents_and_the_tokens_as_they_come(
    chain: Runnable[Any, Any],
) -> None:
    events: Any = [event async for event in chain.astream_events(INPUT, version="v2")]
    names = [event["event"] for event in events]
    for name in ("on_retriever_start", "on_retriever_end", "on_chat_model_start"):
        assert names.count(name) == 1
    assert names.count("on_chat_model_stream") == len(RENDERED.split(" ")) + 1
    context = [event["data"] for event in events if event["event"] == "on_custom_event"]
    assert [delta[0].page_content for delta in context] == ["one", "two", "three"]
    (end,) = [event["data"] for event in events if event["event"] == "on_chat_model_end"]
    assert end["output"].response_metadata["stream2llm"]["prompt_tokens"] == len(RENDERED)


async def test_a_step_that_only_awaits_the_chain_still_streams_to_events(
    chain: Runnable[Any, Any],
) -> None:
    async def node(values: dict[str, Any]) -> Any:
        return await chain.ainvoke(values)

    step = RunnableLambda(node)
    names = [event["event"] async for event in step.astream_events(INPUT, version="v2")]
    assert names.count("on_chat_model_stream") == len(RENDERED.split(" ")) + 1
    assert names.count("on_custom_event") == 3


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_the_newest_event_stream_takes_a_live_prompt(
    prompt: ChatPromptTemplate, llm: ChatStream2LLM, engine: FakeEngine
) -> None:
    context_format = ContextFormat(DEFAULT_DOCUMENT_PROMPT, "\n\n")
    live = LivePrompt(ContextPrompt.from_template(prompt, INPUT, "context", context_format))
    stream = await llm.astream_events(LivePromptValue(live=live), version="v3")
    answer = asyncio.ensure_future(stream.text)
    live.add(docs("one"))
    await engine.until_sent("one")
    live.context.close()
    assert "Read:\none\nQ" in await answer


@EVERY_CALL
async def test_a_trace_says_what_the_model_read_though_it_began_before(
    chain: Runnable[Any, Any], how: str
) -> None:
    """The model's run starts before the documents are known, so its input cannot have them."""
    collector = RunCollectorCallbackHandler()
    await call(chain, how, config={"callbacks": [collector]})
    (trace,) = collector.traced_runs
    (model,) = (run for run in trace.child_runs if run.run_type == "llm")
    assert "still arriving" in str(model.inputs)
    output: Any = model.outputs
    message = output["generations"][0][0]["message"]["kwargs"]
    report = message["response_metadata"]["stream2llm"]
    assert len(report["document_ids"]) == 3
    assert report["ttft_s"] == 0.5, "counted from the last document, unlike a tracer's own figure"
    (retrieval,) = (run for run in trace.child_runs if run.run_type == "retriever")
    outputs: Any = retrieval.outputs
    assert [document.page_content for document in outputs["documents"]] == ["one", "two", "three"]


async def test_the_model_name_is_not_repeated_by_adding_chunks(chain: Runnable[Any, Any]) -> None:
    message = await call(chain, "astream")
    assert message.response_metadata["model_name"] == "fake"
