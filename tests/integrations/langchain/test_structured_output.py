"""Structured output, on a scripted model; ``real_model`` has the grammars."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel
from pydantic.v1 import BaseModel as OldModel
from typing_extensions import TypedDict

from langchain_stream2llm import ChatStream2LLM, create_streaming_rag_chain
from stream2llm_engine import InvalidRequestError
from tests.integrations.langchain.calls import EVERY_CALL, call
from tests.integrations.langchain.fakes import ScriptedRetriever, docs
from tests.integrations.langchain.scripted import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Callable


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str | None = None


class OldJoke(OldModel):
    """A joke."""

    setup: str


class JokeDict(TypedDict):
    """A joke."""

    setup: Annotated[str, ..., "how it starts"]


SCHEMA = {"title": "Joke", "type": "object", "properties": {"setup": {"type": "string"}}}
NAMELESS = {"type": "object", "properties": {"setup": {"type": "string"}}}
ANSWER = '{"setup": "Why?"}'


@pytest.fixture
def make(chat_tokenizer: Any) -> Callable[..., tuple[ChatStream2LLM, ScriptedEngine]]:
    def make(answer: str = ANSWER, **options: Any) -> tuple[ChatStream2LLM, ScriptedEngine]:
        engine = ScriptedEngine(chat_tokenizer, lambda _: answer)
        return ChatStream2LLM(engine=engine, **options), engine

    return make


async def last_of(chain: Any, how: str, value: Any) -> Any:
    """What a call gives; parsed pieces replace each other and are not added up."""
    if how == "stream":
        return list(chain.stream(value))[-1]
    if how == "astream":
        return [piece async for piece in chain.astream(value)][-1]
    return await call(chain, how, value)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Joke, Joke(setup="Why?")),
        (OldJoke, OldJoke(setup="Why?")),
        (JokeDict, {"setup": "Why?"}),
        (SCHEMA, {"setup": "Why?"}),
    ],
)
@EVERY_CALL
async def test_the_answer_is_what_the_schema_says(
    make: Callable[..., Any], how: str, schema: Any, expected: Any, method: str
) -> None:
    llm, engine = make()
    answer = await last_of(llm.with_structured_output(schema, method=method), how, "A joke!")
    assert answer == expected
    assert type(answer) is type(expected)
    constraint = engine.sessions[0].sampling_params.structured_outputs
    if method == "json_mode":
        assert constraint.json_object is True
    else:
        assert constraint.json["properties"]["setup"]["type"] == "string"


async def test_a_schema_needs_no_name(make: Callable[..., Any]) -> None:
    llm, engine = make()
    assert await llm.with_structured_output(NAMELESS).ainvoke("hi") == {"setup": "Why?"}
    assert engine.sessions[0].sampling_params.structured_outputs.json == NAMELESS


@pytest.mark.parametrize("strict", [None, True, False])
async def test_the_schema_is_held_whether_strict_or_not(
    make: Callable[..., Any], strict: bool | None
) -> None:
    llm, engine = make()
    await llm.with_structured_output(Joke, strict=strict).ainvoke("hi")
    assert "setup" in engine.sessions[0].sampling_params.structured_outputs.json["required"]


async def test_any_object_will_do_without_a_schema(make: Callable[..., Any]) -> None:
    llm, _ = make('{"x": [1]}')
    assert await llm.with_structured_output(method="json_mode").ainvoke("hi") == {"x": [1]}


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "yaml"])
def test_other_methods_need_a_schema_and_unknown_ones_do_not_exist(
    make: Callable[..., Any], method: Any
) -> None:
    llm, _ = make()
    with pytest.raises(InvalidRequestError, match=method):
        llm.with_structured_output(None if method != "yaml" else Joke, method=method)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_the_message_may_be_kept_with_the_error_of_the_parser(
    make: Callable[..., Any], method: str
) -> None:
    llm, _ = make()
    chain = llm.with_structured_output(Joke, method=method, include_raw=True)
    result = await chain.ainvoke("hi")
    assert result["parsed"] == Joke(setup="Why?")
    assert result["parsing_error"] is None
    assert result["raw"].usage_metadata["output_tokens"] > 0
    llm, _ = make('{"setdown": 1}')
    result = await llm.with_structured_output(Joke, method=method, include_raw=True).ainvoke("hi")
    assert result["parsed"] is None
    assert "setup" in str(result["parsing_error"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@EVERY_CALL
async def test_an_answer_cut_short_is_an_error_and_not_a_short_one(
    make: Callable[..., Any], how: str, method: str
) -> None:
    llm, engine = make('{"setup": "Why is')
    engine.finish_reason = "length"
    with pytest.raises(OutputParserException, match="raise max_tokens"):
        await last_of(llm.with_structured_output(Joke, method=method), how, "hi")
    chain = llm.with_structured_output(JokeDict, method=method, include_raw=True)
    result = await chain.ainvoke("hi")
    assert result["parsed"] is None
    assert "raise max_tokens" in str(result["parsing_error"])


async def test_streamed_dictionaries_grow(make: Callable[..., Any]) -> None:
    llm, _ = make()
    pieces = [piece async for piece in llm.with_structured_output(JokeDict).astream("hi")]
    setups = [piece["setup"] for piece in pieces if "setup" in piece]
    assert len(setups) > 2
    assert all(longer.startswith(short) for short, longer in pairwise(setups))


async def test_openais_response_format_may_be_bound(make: Callable[..., Any]) -> None:
    """As LangChain's agents do for answers in a schema."""
    llm, engine = make()
    form = {"type": "json_schema", "json_schema": {"name": "j", "schema": SCHEMA, "strict": True}}
    message = await llm.bind(response_format=form).ainvoke("hi")
    assert json.loads(message.text) == {"setup": "Why?"}
    assert engine.sessions[0].sampling_params.structured_outputs.json == SCHEMA


@pytest.mark.parametrize("where", ["sampling", "bind"])
async def test_vllms_other_constraints_need_no_import(make: Callable[..., Any], where: str) -> None:
    constraint = {"structured_outputs": {"choice": ["yes", "no"]}}
    llm, engine = make("yes", **({"sampling": constraint} if where == "sampling" else {}))
    await (llm.bind(**constraint) if where == "bind" else llm).ainvoke("hi")
    assert engine.sessions[0].sampling_params.structured_outputs.choice == ["yes", "no"]


@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "yaml"}},
        {"structured_outputs": {"choice": ["a"], "regex": "b"}},
        {"response_format": {"type": "json_schema"}},
    ],
)
async def test_a_malformed_constraint_is_an_error(
    make: Callable[..., Any], options: dict[str, Any]
) -> None:
    llm, engine = make()
    with pytest.raises(InvalidRequestError, match="format of the answer"):
        await llm.ainvoke("hi", **options)
    assert not engine.sessions


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@EVERY_CALL
async def test_it_works_while_the_context_arrives(
    make: Callable[..., Any], how: str, method: str, include_raw: bool
) -> None:
    llm, engine = make()
    prompt = ChatPromptTemplate.from_template("Read:\n{context}\nQ: {question}")
    chain = create_streaming_rag_chain(
        ScriptedRetriever(deltas=[docs("one"), docs("two")]),
        prompt,
        llm.with_structured_output(Joke, method=method, include_raw=include_raw),
    )
    result = await (call if include_raw else last_of)(chain, how, {"question": "why?"})
    assert (result["parsed"] if include_raw else result) == Joke(setup="Why?")
    (session,) = engine.sessions
    assert session.before_final.endswith("Read:\none\n\ntwo")
    assert session.sampling_params.structured_outputs is not None
