"""Tools, objects, log-probabilities and LoRA on real vLLM.

Random weights know no JSON and would write strings without end, so the sampling favours characters
that close what is open. What is well-formed is so because of vLLM's grammars.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from stream2llm_engine import DeadlineExceededError, EngineConfig, InvalidRequestError, StreamEngine
from tests.integrations.llama_index.watched import PatientRetriever, WatchedEngine
from tests.support.chat_llama import (
    TOOL_CALL_PARSER,
    brief_sampling,
    save_chat_llama_and_adapter,
)

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MESSAGES = [ChatMessage(role="user", content="Where to?")]
PROMPT = PromptTemplate("Where to from {place}?")


class Trip(BaseModel):
    """A trip."""

    place: str = Field(description="where to")
    days: int
    kind: Literal["work", "fun"]


def book(place: str, days: int, kind: Literal["work", "fun"]) -> str:
    """Books a trip."""
    return Trip(place=place, days=days, kind=kind).model_dump_json()


def stay(reason: Literal["rain", "snow"]) -> str:
    """Stays at home."""
    return reason


TOOLS = [FunctionTool.from_defaults(book), FunctionTool.from_defaults(stay)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a LoRA adapter for it."""
    return save_chat_llama_and_adapter(tmp_path_factory.mktemp("chat-llama"))


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[WatchedEngine]:
    from vllm.config import StructuredOutputsConfig

    config = EngineConfig(
        model=str(home / "model"),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 2048,
            "kv_cache_memory_bytes": 64 * 2**20,
            "enable_lora": True,
            "max_lora_rank": 8,
            "structured_outputs_config": StructuredOutputsConfig(
                backend="xgrammar", disable_any_whitespace=True
            ),
        },
    )
    engine = WatchedEngine(config)
    engine.run(engine.start())
    yield engine
    engine.close()


@pytest.fixture
def params(engine: StreamEngine) -> dict[str, Any]:
    return {
        "engine": engine,
        "temperature": 0,
        "max_tokens": 100,
        "additional_kwargs": brief_sampling(engine.tokenizer),
    }


@pytest.fixture
def llm(params: dict[str, Any]) -> Stream2LLM:
    return Stream2LLM(**params)


@pytest.mark.parametrize("parser", [None, TOOL_CALL_PARSER])
@pytest.mark.parametrize("choice", ["required", "stay"])
async def test_a_forced_call_keeps_to_its_schema(
    params: dict[str, Any], parser: str | None, choice: str
) -> None:
    llm = Stream2LLM(tool_call_parser=parser, **params)
    response = await llm.apredict_and_call(TOOLS, "Hm?", tool_choice=choice)
    (source,) = response.sources
    assert not source.is_error
    assert choice in ("required", source.tool_name)
    if source.tool_name == "stay":
        assert response.response in ("rain", "snow")
    else:
        Trip.model_validate_json(response.response)
    responses = await llm.astream_chat_with_tools(TOOLS, "Hm?", tool_choice=choice)
    streamed = [each async for each in responses][-1]
    (selection,) = llm.get_tool_calls_from_response(streamed)
    assert selection.tool_name == source.tool_name
    functions: dict[str, Callable[..., str]] = {"book": book, "stay": stay}
    assert functions[selection.tool_name](**selection.tool_kwargs) == response.response


async def test_objects_keep_to_their_schema(llm: Stream2LLM) -> None:
    trip = await llm.astructured_predict(Trip, PROMPT, place="Zorland")
    assert isinstance(trip, Trip)
    assert llm.structured_predict(Trip, PROMPT, place="Zorland") == trip
    partial = [
        each async for each in await llm.astream_structured_predict(Trip, PROMPT, place="Zorland")
    ]
    assert partial[-1] == trip
    assert len(partial) > 3
    assert (await llm.as_structured_llm(Trip).achat(MESSAGES)).raw.kind in ("work", "fun")
    with pytest.raises(InvalidRequestError, match="raise max_tokens"):
        await llm.astructured_predict(Trip, PROMPT, {"max_tokens": 3}, place="Zorland")


@pytest.mark.parametrize("how", ["query", "aquery"])
async def test_an_object_from_nodes_that_arrive(
    engine: WatchedEngine, llm: Stream2LLM, how: str
) -> None:
    engine.forget()
    query_engine = StreamingQueryEngine.from_args(
        PatientRetriever(engine, "abc"), llm=llm, output_cls=Trip
    )
    response: Any = (
        query_engine.query("Where?") if how == "query" else await query_engine.aquery("Where?")
    )
    assert isinstance(response.response, Trip)
    report = response.metadata["stream2llm"]
    assert report["prefilled_before_final"] > report["prompt_tokens"] / 2


async def test_log_probabilities(engine: StreamEngine) -> None:
    llm = Stream2LLM(engine=engine, temperature=0)
    response = await llm.achat(MESSAGES, logprobs=2, max_tokens=5)
    assert response.logprobs is not None
    assert len(response.logprobs) == response.raw["usage"]["completion_tokens"]
    assert "".join(place[0].token for place in response.logprobs).startswith(
        response.message.content
    )
    for place in response.logprobs:
        # Greedy: the token taken is the likeliest, and no other is likelier.
        assert place[0].logprob == max(each.logprob for each in place) <= 0
    pieces = [each async for each in await llm.astream_complete("Hm?", logprobs=0, max_tokens=5)]
    places = [len(each.logprobs) for each in pieces]
    assert places == sorted(set(places))
    assert places[-1] == pieces[-1].additional_kwargs["completion_tokens"]
    assert (await llm.acomplete("Hm?", max_tokens=5)).logprobs is None


async def test_a_lora_adapter_answers(params: dict[str, Any], home: Path) -> None:
    plain, adapted = Stream2LLM(**params), Stream2LLM(lora=str(home / "adapter"), **params)
    options = {"logprobs": 0, "max_tokens": 3}
    base = (await plain.achat(MESSAGES, **options)).logprobs
    by_model = (await adapted.achat(MESSAGES, **options)).logprobs
    by_call = (await plain.achat(MESSAGES, lora=str(home / "adapter"), **options)).logprobs
    assert by_model == by_call != base


async def test_a_deadline_ends_the_answer(engine: StreamEngine, params: dict[str, Any]) -> None:
    params["additional_kwargs"] = {"ignore_eos": True}
    llm = Stream2LLM(timeout=0.2, **{**params, "max_tokens": 1900})
    with pytest.raises(DeadlineExceededError):
        await llm.achat(MESSAGES)
    stats = await engine.stats()
    assert stats.open_sessions == 0
