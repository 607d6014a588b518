"""Structured prediction whose JSON is held to its schema while it is decoded."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program.utils import process_streaming_objects
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ValidationError

from stream2llm_engine.errors import InvalidRequestError

__all__ = ["GuidedLLM", "guided", "parsed", "with_schema"]

dispatcher = get_dispatcher(__name__)

Model = TypeVar("Model", bound=BaseModel)


class GuidedLLM(FunctionCallingLLM):
    """An LLM that writes pydantic objects as JSON which a grammar holds to the schema.

    The prompt says the schema, as LlamaIndex does to a model without tools. Where
    ``pydantic_program_mode`` is ``"function"`` the object is the argument of a tool instead.
    """

    pydantic_program_mode: PydanticProgramMode = PydanticProgramMode.LLM

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answers a prompt with an object.

        Raises:
            InvalidRequestError: The answer ended before the object was complete.
        """
        if not self._guides:
            answer: Model = super().structured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return answer
        messages = self._announced(output_cls, prompt, prompt_args)
        response = self.chat(messages, **guided(output_cls, llm_kwargs))
        return _announced_end(parsed(output_cls, response))

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answers a prompt with an object.

        Raises:
            InvalidRequestError: The answer ended before the object was complete.
        """
        if not self._guides:
            answer: Model = await super().astructured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return answer
        messages = self._announced(output_cls, prompt, prompt_args)
        response = await self.achat(messages, **guided(output_cls, llm_kwargs))
        return _announced_end(parsed(output_cls, response))

    # What streams objects, with the events of LlamaIndex around it.

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if not self._guides:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        messages = self._schema_messages(output_cls, prompt, prompt_args)
        return _objects(
            output_cls, self.stream_chat(messages, **guided(output_cls, llm_kwargs)), self
        )

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if not self._guides:
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        messages = self._schema_messages(output_cls, prompt, prompt_args)
        responses = await self.astream_chat(messages, **guided(output_cls, llm_kwargs))
        return _aobjects(output_cls, responses, self)

    @property
    def _guides(self) -> bool:
        return self.pydantic_program_mode == PydanticProgramMode.LLM

    def _announced(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, prompt_args: dict[str, Any]
    ) -> list[ChatMessage]:
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=prompt_args
            )
        )
        return self._schema_messages(output_cls, prompt, prompt_args)

    def _schema_messages(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, prompt_args: dict[str, Any]
    ) -> list[ChatMessage]:
        return with_schema(output_cls, self._get_messages(prompt, **prompt_args))


def with_schema(output_cls: type[BaseModel], messages: list[ChatMessage]) -> list[ChatMessage]:
    """Says the schema in the system message, or else in the last one."""
    return _SchemaText(output_cls).format_messages(messages)


def guided(output_cls: type[BaseModel], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the options of a call whose answer is to be an object."""
    constraint = {"json": output_cls.model_json_schema()}
    return {**(options or {}), "structured_outputs": constraint}


def parsed(output_cls: type[Model], response: ChatResponse) -> Model:
    """Reads the object that an answer is.

    Raises:
        InvalidRequestError: It ended before it was complete, or breaks a rule that is not in the
            schema.
    """
    try:
        return output_cls.model_validate_json(response.message.content or "")
    except ValidationError as error:
        name = output_cls.__name__
        msg = (
            f"the answer is no complete {name}: raise max_tokens, or, if {name} has validators that"
            " a JSON schema cannot say, ask again"
        )
        raise InvalidRequestError(msg) from error


class _SchemaText(PydanticOutputParser[Any]):
    def format(self, query: str) -> str:
        # The base class doubles braces for a template that is formatted later; none is.
        return f"{query}\n\n{self.get_format_string(escape_json=False)}"


def _announced_end(output: Model) -> Model:
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output


def _objects(
    output_cls: type[BaseModel], responses: Generator[ChatResponse, None, None], llm: GuidedLLM
) -> Generator[Any, None, None]:
    last: Any = None
    response = ChatResponse(message=ChatMessage())
    for response in responses:
        last = _object(output_cls, response, last, llm)
        yield last
    parsed(output_cls, response)


async def _aobjects(
    output_cls: type[BaseModel], responses: AsyncGenerator[ChatResponse, None], llm: GuidedLLM
) -> AsyncGenerator[Any, None]:
    last: Any = None
    response = ChatResponse(message=ChatMessage())
    async for response in responses:
        last = _object(output_cls, response, last, llm)
        yield last
    parsed(output_cls, response)


def _object(output_cls: type[BaseModel], response: ChatResponse, last: Any, llm: GuidedLLM) -> Any:
    """The object as far as it goes: of a class with the same fields, all of them optional."""
    before = None if last is None else [last]
    return process_streaming_objects(response, output_cls, cur_objects=before, llm=llm)
