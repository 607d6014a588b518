"""Answers in the form of a schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from operator import itemgetter
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import (
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from stream2llm_engine.errors import InvalidRequestError

__all__ = ["Method", "Schema", "response_format", "schema_parser", "tool_parser", "with_raw"]

Schema: TypeAlias = Mapping[str, Any] | type
Method: TypeAlias = Literal["json_schema", "function_calling", "json_mode"]
MessageParser: TypeAlias = Runnable[AIMessage, Any]


def response_format(schema: Schema | None, method: Method, strict: bool | None) -> dict[str, Any]:
    """Returns OpenAI's ``response_format`` for the schema, or for any JSON object.

    Raises:
        InvalidRequestError: There is no such method, or no schema to keep to.
    """
    if method not in get_args(Method):
        msg = f"there is no method={method!r}; use one of {list(get_args(Method))}"
        raise InvalidRequestError(msg)
    if method == "json_mode":
        return {"type": "json_object"}
    if schema is None:
        msg = f'method={method!r} needs a schema; give one, or use method="json_mode"'
        raise InvalidRequestError(msg)
    json_schema = _json_schema(schema)
    named = {"name": json_schema.get("title", "answer"), "schema": json_schema}
    if strict is not None:
        named["strict"] = strict
    return {"type": "json_schema", "json_schema": named}


def schema_parser(schema: Schema | None) -> MessageParser:
    """Returns the parser of an answer that is the JSON text itself."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return _whole | PydanticOutputParser(pydantic_object=schema)
    return _whole | JsonOutputParser()


def tool_parser(schema: Schema) -> MessageParser:
    """Returns the parser of an answer that is a call with the schema as its parameters."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return _whole | PydanticToolsParser(tools=[schema], first_tool_only=True)
    return _whole | JsonOutputKeyToolsParser(key_name=tool_name(schema), first_tool_only=True)


def tool_name(schema: Schema) -> str:
    """Returns the name under which the schema is a tool."""
    tool = convert_to_openai_tool(dict(schema) if isinstance(schema, Mapping) else schema)
    return str(tool["function"]["name"])


def with_raw(llm: Runnable[Any, Any], parser: MessageParser) -> Runnable[Any, Any]:
    """Returns ``llm | parser`` that keeps the message, and an error of the parser beside it.

    The model comes first, so that a live prompt finds it.
    """
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return (
        llm
        | RunnableMap(raw=RunnablePassthrough())
        | parsed.with_fallbacks([failed], exception_key="parsing_error")
    )


def _json_schema(schema: Schema) -> dict[str, Any]:
    if isinstance(schema, Mapping) and "title" not in schema and "name" not in schema:
        # LangChain knows schemas by their names; one without is a plain JSON schema.
        return dict(schema)
    return convert_to_json_schema(dict(schema) if isinstance(schema, Mapping) else schema)


def _refuse_cut(message: AIMessage) -> AIMessage:
    """LangChain's parsers close what is open, so a cut answer would pass for a short one."""
    if message.response_metadata.get("finish_reason") == "length":
        msg = (
            "the answer was cut before its schema was complete; raise max_tokens, or bound the"
            " lengths of strings and lists in the schema"
        )
        raise OutputParserException(msg, llm_output=str(message.text))
    return message


def _check(messages: Iterator[AIMessage]) -> Iterator[AIMessage]:
    yield from map(_refuse_cut, messages)


async def _acheck(messages: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
    async for message in messages:
        yield _refuse_cut(message)


_whole: RunnableGenerator[AIMessage, AIMessage] = RunnableGenerator(_check, _acheck, name="whole")
