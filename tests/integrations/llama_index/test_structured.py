"""Structured prediction on a model that says what a test wants; the grammars are real elsewhere."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_validator

from llama_index.llms.stream2llm import Stream2LLM
from stream2llm_engine import InvalidRequestError
from tests.integrations.llama_index.fakes import FakeEngine, Recorder

PROMPT = PromptTemplate("Name {what}.")
HOW = [
    "structured_predict",
    "astructured_predict",
    "stream_structured_predict",
    "astream_structured_predict",
]


class Place(BaseModel):
    """A place."""

    name: str = Field(description="What it is called.")
    size: int = 0


class Village(Place):
    @field_validator("size")
    @classmethod
    def _small(cls, size: int) -> int:
        assert size < 100
        return size


ZORLAND = '{"name": "Zor land", "size": 7}'


async def predict(llm: Any, how: str, output_cls: Any = Place, **options: Any) -> list[Any]:
    method = getattr(llm, how)
    match how:
        case "structured_predict":
            return [method(output_cls, PROMPT, what="a place", **options)]
        case "astructured_predict":
            return [await method(output_cls, PROMPT, what="a place", **options)]
        case "stream_structured_predict":
            return list(method(output_cls, PROMPT, what="a place", **options))
        case _:
            objects = await method(output_cls, PROMPT, what="a place", **options)
            return [each async for each in objects]


@pytest.mark.parametrize("how", HOW)
async def test_the_answer_is_an_object_held_to_its_schema(
    llm: Stream2LLM, engine: FakeEngine, recorder: Recorder, how: str
) -> None:
    engine.reply = lambda _: ZORLAND
    objects = await predict(llm, how, llm_kwargs={"seed": 3})
    assert objects[-1] == Place(name="Zor land", size=7)
    assert type(objects[-1]) is Place
    (session,) = engine.sessions
    assert session.sampling_params.structured_outputs.json == Place.model_json_schema()
    assert session.sampling_params.seed == 3
    # The model is told the schema, once and as it is.
    assert session.prompt.count('"description": "What it is called."') == 1
    assert "{{" not in session.prompt
    assert recorder.names[0] == "LLMStructuredPredictStartEvent"
    assert recorder.names[-1] == "LLMStructuredPredictEndEvent"
    assert recorder.of("LLMStructuredPredictEndEvent").output == objects[-1]
    if "stream" in how:
        names = [each.name for each in objects]
        assert names[-1] == "Zor land"
        assert "Zor " in names


async def test_the_prompt_of_the_caller_stays_as_it_was(
    llm: Stream2LLM, engine: FakeEngine
) -> None:
    engine.reply = lambda _: ZORLAND
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Name {what}.")])
    for _ in range(2):
        await llm.astructured_predict(Place, prompt, what="a place")
    assert prompt.output_parser is None
    first, second = (session.prompt for session in engine.sessions)
    assert first == second
    # In the system message, and so in front of whatever is retrieved.
    assert first.index("JSON schema") < first.index("</system>")


@pytest.mark.parametrize("how", HOW)
async def test_an_object_that_is_cut_off_is_a_typed_error(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    engine.reply = lambda _: '{"name": "Zor'
    with pytest.raises(InvalidRequestError, match="no complete Place: raise max_tokens"):
        await predict(llm, how)


@pytest.mark.parametrize("how", HOW)
async def test_so_is_one_that_breaks_a_rule_no_grammar_knows(
    llm: Stream2LLM, engine: FakeEngine, how: str
) -> None:
    engine.reply = lambda _: '{"name": "Zor", "size": 1000}'
    with pytest.raises(InvalidRequestError, match="validators"):
        await predict(llm, how, Village)


@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # which LlamaIndex calls
async def test_a_structured_llm(llm: Stream2LLM, engine: FakeEngine) -> None:
    engine.reply = lambda _: ZORLAND
    structured = llm.as_structured_llm(Place)
    messages = [ChatMessage(role="user", content="Name a place.")]
    expected = Place(name="Zor land", size=7)
    assert structured.chat(messages).raw == expected
    assert (await structured.achat(messages)).raw == expected
    assert structured.complete("Name a place.").raw == expected
    assert [each.raw for each in structured.stream_chat(messages)][-1] == expected
    pieces = [each async for each in await structured.astream_chat(messages)]
    assert pieces[-1].raw == expected
    assert len(pieces) > 1


@pytest.mark.parametrize("how", HOW[:2])
async def test_an_object_may_be_the_argument_of_a_tool_instead(
    engine: FakeEngine, how: str
) -> None:
    engine.reply = lambda _: '[{"name": "Place", "parameters": {"name": "Zorland"}}]'
    llm = Stream2LLM(engine=engine, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert await predict(llm, how) == [Place(name="Zorland")]
    assert "JSON schema to follow" not in engine.prompt


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "choice", ["yes", "no"]),
        ({"response_format": {"type": "json_object"}}, "json_object", True),
    ],
)
async def test_other_forms_of_answers(
    llm: Stream2LLM, engine: FakeEngine, options: dict[str, Any], field: str, value: Any
) -> None:
    await llm.acomplete("Well?", **options)
    constraint = engine.sessions[0].sampling_params.structured_outputs
    assert getattr(constraint, field) == value


async def test_a_form_that_is_none_is_refused(llm: Stream2LLM) -> None:
    with pytest.raises(InvalidRequestError, match="format of the answer"):
        await llm.acomplete("Well?", structured_outputs={"choice": ["a"], "regex": "b"})
