"""The chat model: vLLM in this process, with prompts that may still be arriving."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

from langchain_stream2llm._answers import NumberedChunk, answer, collected
from langchain_stream2llm._background import iterate
from langchain_stream2llm._configured_model import ConfiguredChatModel
from langchain_stream2llm._requests import Request, prompt_ids
from langchain_stream2llm._structured import (
    Method,
    Schema,
    response_format,
    schema_parser,
    tool_name,
    tool_parser,
    with_raw,
)
from langchain_stream2llm._tools import (
    AnyTool,
    AnyToolChoice,
    openai_tool_choice,
    openai_tools,
    require_parser,
)
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.engine_sharing import release_engine

__all__ = ["ChatStream2LLM"]


class ChatStream2LLM(ConfiguredChatModel):
    """A chat model on an in-process vLLM engine that prefills context while it is retrieved.

    It is an ordinary LangChain chat model. Given a prompt whose context is still arriving, from
    ``create_streaming_rag_chain`` or ``StreamingChatPromptTemplate``, it computes what is there and
    starts the answer when the context is complete; everything below works for such prompts, too.

    Setup:
        ```sh
        pip install "stream2llm-rag[langchain,cuda]"
        ```

        There is no server and no key. Nothing loads before the first call. Models of one
        configuration share one engine, which ``close`` (or leaving ``with``) frees; an engine given
        as ``engine`` stays its owner's.

    Instantiate:
        ```python
        llm = ChatStream2LLM(
            model="Qwen/Qwen3-0.6B",
            temperature=0,
            max_tokens=256,
            tool_call_parser="hermes",
            reasoning_parser="qwen3",
            engine_options={"vllm": {"max_model_len": 8192}},
        )
        ```

    Invoke:
        ```python
        messages = [("system", "Translate to French."), ("human", "I love programming.")]
        llm.invoke(messages).text
        ```

    Stream:
        ```python
        for chunk in llm.stream(messages):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        await llm.ainvoke(messages)
        async for chunk in llm.astream(messages):
            ...
        await llm.abatch([messages, messages])  # side by side, in the engine's batch
        ```

    Tool calling:
        ```python
        class GetWeather(BaseModel):
            '''Get the current weather in a place.'''

            location: str = Field(description="City and country")


        llm.bind_tools([GetWeather]).invoke("How is the weather in Paris?").tool_calls
        # [{'name': 'GetWeather', 'args': {'location': 'Paris, France'}, 'id': '…', …}]
        ```

        Calls that the model decides on are found by vLLM's parsers, which ``tool_call_parser``
        names. ``tool_choice="any"`` or the name of a tool forces a call by guided decoding, which
        needs no parser and no skill of the model.

    Structured output:
        ```python
        class Joke(BaseModel):
            setup: str
            punchline: str


        llm.with_structured_output(Joke).invoke("Tell me a joke about cats, as JSON.")
        # Joke(setup='…', punchline='…')
        ```

        The schema is held by guided decoding. The model does not see it, so the prompt should say
        what is wanted; ``method="function_calling"`` shows it the schema as a tool.

    Reasoning:
        ```python
        message = llm.invoke("How many r are in strawberry?")
        [block for block in message.content_blocks if block["type"] == "reasoning"]
        ```

    Usage metadata:
        ```python
        llm.invoke(messages).usage_metadata
        # {'input_tokens': 28, 'output_tokens': 46, 'total_tokens': 74,
        #  'input_token_details': {'cache_read': 16}, 'output_token_details': {'reasoning': 31}}
        ```

    Logprobs:
        ```python
        message = llm.bind(logprobs=True, top_logprobs=3).invoke(messages)
        message.response_metadata["logprobs"]["content"][0]
        ```

    Response metadata:
        ```python
        llm.invoke(messages).response_metadata
        # {'model_name': 'Qwen/Qwen3-0.6B', 'finish_reason': 'stop',
        #  'stream2llm': {'ttft_s': 0.02, 'prefilled_before_final': 0, …}}
        ```

        ``ttft_s`` counts from the end of the context, where tracers count from the start of the
        call and so make a prompt that arrives in pieces look slow.

    LoRA:
        ```python
        llm = ChatStream2LLM(model="…", lora_adapters={"legal": "/adapters/legal"})
        llm.bind(model="legal").invoke(messages)
        ```

    Attributes:
        model: Directory or hub id of the model; may be left out if ``engine`` is given, or name an
            adapter of ``lora_adapters`` there. ``model`` of a call takes an adapter, too.
        engine: A running or not yet started engine to use instead of a shared one.
        engine_options: Other fields of ``EngineConfig``, as in
            ``{"vllm": {"max_model_len": 8192}}``.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Nucleus sampling.
        seed: Seed of the sampling.
        max_tokens: Longest answer; by default whatever the model's length leaves.
        stop: Strings that end the answer; ``stop`` of a call replaces them.
        n: How many answers ``generate`` gives; more than one cannot be streamed.
        logprobs: Whether to report the log-probabilities of the answer's tokens.
        top_logprobs: How many of the likeliest tokens to report besides, at each place.
        sampling: Any other field of vLLM's ``SamplingParams``.
        tool_call_parser: vLLM's name for how the model writes tool calls, such as ``"hermes"``.
        reasoning_parser: vLLM's name for how the model marks its reasoning, such as ``"qwen3"``.
            It is the engine's, too, because constraints begin behind the reasoning.
        lora_adapters: LoRA adapters by the name to use as ``model``.
        tenant: Whose share of the engine the calls use.
        priority: The smallest goes first, before turns of tenants and the engine's policy.
        deadline_s: Seconds within which an answer must be complete, retrieval and the wait for a
            place in the engine included; the engine gives the work up then, and the error is
            ``DeadlineExceededError``.
        timeout: The same as other chat models have it; the error is ``SessionTimeoutError``.
        streaming: Whether ``invoke`` streams, too, for callbacks that want tokens.
        max_retries: Accepted as other chat models do; nothing in this process is worth a retry.
        api_key: Accepted as other chat models do; nothing in this process asks for it.
        chat_template: Replaces the model's chat template.
        chat_template_kwargs: Variables for the chat template, as in
            ``{"enable_thinking": False}``.
    """

    def bind_tools(
        self,
        tools: Sequence[AnyTool],
        *,
        tool_choice: AnyToolChoice = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Lets the model call tools, or makes it.

        Args:
            tools: LangChain tools, functions, pydantic models, typed dicts or schemas.
            tool_choice: ``"any"`` or ``True`` forces a call of any tool, a name or OpenAI's
                dictionary with it that of one, ``"none"`` forbids calls; by default the model
                decides, which needs ``tool_call_parser``.
            strict: Whether arguments of calls the model decides on are held to their schemas, as
                far as the parser's notation has a grammar. Those of forced calls always are.
            kwargs: Other options of the calls; ``parallel_tool_calls=False`` forces one call only.

        Raises:
            InvalidRequestError: The choice names no tool.
            UnsupportedFeatureError: There is no ``tool_call_parser``, and it takes one.
        """
        formatted = openai_tools(tools, strict=strict)
        choice = openai_tool_choice(tool_choice, formatted)
        require_parser(choice, self.tool_call_parser)
        return self.bind(tools=formatted, tool_choice=choice, **kwargs)

    def with_structured_output(
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Makes the model answer in the form of a schema.

        Args:
            schema: A pydantic model, for objects of it; a typed dict or a JSON schema, for
                dictionaries. Only ``"json_mode"`` can go without.
            method: ``"json_schema"`` holds the answer to the schema by guided decoding;
                ``"function_calling"`` makes it a call of a tool that has the schema, which the
                chat template shows to the model; ``"json_mode"`` allows any JSON object.
            include_raw: Whether to return ``{"raw": message, "parsed": …, "parsing_error": …}``.
            strict: Accepted as other chat models do; guided decoding is always strict.
            kwargs: Other options of the calls.

        Raises:
            InvalidRequestError: There is no such method, or it needs a schema.
        """
        described = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        llm: Runnable[LanguageModelInput, AIMessage]
        if method == "function_calling" and schema is not None:
            llm = self.bind_tools(
                [schema],
                tool_choice=tool_name(schema),
                strict=strict,
                ls_structured_output_format=described,
                **kwargs,
            )
            parser = tool_parser(schema)
        else:
            llm = self.bind(
                response_format=response_format(schema, method, strict),
                ls_structured_output_format=described if schema is not None else None,
                **kwargs,
            )
            parser = schema_parser(schema)
        return with_raw(llm, parser) if include_raw else llm | parser

    def close(self) -> None:
        """Gives the shared engine up, which frees it if no other model uses it.

        A later call starts it again. An engine given as ``engine`` stays as it is.
        """
        release_engine(self._user)

    async def aclose(self) -> None:
        """Does what ``close`` does."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def get_token_ids(self, text: str) -> list[int]:
        """Tokenises ``text`` as the model does, loading the model first if need be."""
        return list(self._tokenizer().encode(text, add_special_tokens=False))

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[AnyTool] | None = None
    ) -> int:
        """Counts the tokens of a prompt, template and tools included; may load the model."""
        template_kwargs = self._template_kwargs({"tools": openai_tools(tools)} if tools else {})
        return len(prompt_ids(self._tokenizer(), messages, template_kwargs))

    def _tokenizer(self) -> Any:
        engine = self._engine()
        engine.run(engine.start())
        return engine.tokenizer

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = _for_one_answer(self._request(messages, stop, kwargs))
        async with aclosing(answer(self._engine(), request)) as chunks:
            async for numbered in chunks:
                yield numbered.chunk

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = _for_one_answer(self._request(messages, stop, kwargs))
        engine = self._engine()
        chunks = iterate(engine.run, answer(engine, request))
        with closing(cast("Generator[NumberedChunk, None, None]", chunks)):
            for numbered in chunks:
                yield numbered.chunk

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        return collected([chunk async for chunk in answer(self._engine(), request)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        engine = self._engine()
        return collected(iterate(engine.run, answer(engine, request)))


def _for_one_answer(request: Request) -> Request:
    if request.sampling.get("n", 1) != 1:
        msg = (
            "several answers cannot be streamed; take them from `generate`, with"
            " disable_streaming=True where callbacks ask for tokens, or use `batch`"
        )
        raise UnsupportedFeatureError(msg)
    return request
