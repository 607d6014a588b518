"""The LLM: vLLM in this process, whose prompts may still be arriving."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS, DEFAULT_TEMPERATURE
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr

from llama_index.llms.stream2llm._answers import answer
from llama_index.llms.stream2llm._calls import chat_request, text_request
from llama_index.llms.stream2llm._engine_holder import EngineHolder
from llama_index.llms.stream2llm._metadata import LazyMetadata
from llama_index.llms.stream2llm._pieces import Piece
from llama_index.llms.stream2llm._streams import AsyncStream, Stream
from llama_index.llms.stream2llm._structured import GuidedLLM
from llama_index.llms.stream2llm._tools import selections
from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_engine.errors import EngineConfigError

__all__ = ["Stream2LLM"]

T = TypeVar("T")


class Stream2LLM(GuidedLLM):
    """An LLM on an in-process vLLM engine that prefills context while it is retrieved.

    It is an ordinary LlamaIndex LLM with tools and structured prediction, which formats
    conversations with the model's own chat template (``messages_to_prompt`` and
    ``completion_to_prompt`` are not used). Under a ``StreamingQueryEngine`` or a
    ``StreamingContextChatEngine`` it computes nodes as they are found.

    Keyword arguments of a call are fields of vLLM's ``SamplingParams``, those of the arguments
    below that are about calls (``tenant``, ``priority``, ``timeout``, ``lora``,
    ``chat_template_kwargs``), and ``structured_outputs`` or ``response_format``, which hold the
    answer to a form.

    Models of one configuration share one engine, which ``close`` frees with the last of them; an
    engine given as ``engine`` stays its owner's. Nothing loads before the first call. One
    exception: LlamaIndex packs prompts by ``metadata.context_window``, and reading that loads the
    model, unless ``max_model_len`` is among the engine's arguments.

    ```python
    llm = Stream2LLM("Qwen/Qwen3-0.6B", temperature=0, max_tokens=256)
    print(llm.complete("Hello!"))
    ```

    Args:
        model: Directory or hub id of the model; not needed with ``engine_config`` or ``engine``.
        engine_config: How to build the engine.
        engine: A running or not yet started engine to use instead of a shared one.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Longest answer. A prompt leaves room for it.
        stop: Strings that end the answer.
        seed: Seed of the sampling.
        additional_kwargs: Other fields of vLLM's ``SamplingParams``.
        tool_call_parser: vLLM's name of the way the model writes tool calls (``"hermes"``, …).
            Without it a call can only be forced.
        reasoning_parser: vLLM's name of the way the model marks its reasoning.
        lora: Directory of a LoRA adapter to answer with.
        tenant: Whose share of the engine the calls use.
        priority: The smallest goes first, before turns of tenants count.
        timeout: Seconds within which an answer has to be complete, its retrieval included.
        chat_template_kwargs: Variables for the chat template, as in ``{"enable_thinking": False}``.
        is_function_calling_model: What LlamaIndex is told; without it agents ask in plain text.
        **kwargs: What every LlamaIndex LLM takes, such as ``callback_manager``, ``system_prompt``.

    Raises:
        EngineConfigError: No model is given, or two different ones.
        pydantic.ValidationError: There is no such argument, or its value is wrong.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(default="", description="Directory or hub id of the model.")
    engine_config: EngineConfig | None = Field(default=None, description="How to build the engine.")
    temperature: float = Field(default=DEFAULT_TEMPERATURE, ge=0, description="0 is greedy.")
    max_tokens: int = Field(default=DEFAULT_NUM_OUTPUTS, gt=0, description="Longest answer.")
    stop: list[str] | None = Field(default=None, description="Strings that end the answer.")
    seed: int | None = Field(default=None, description="Seed of the sampling.")
    additional_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Other fields of vLLM's SamplingParams."
    )
    tool_call_parser: str | None = Field(default=None, description="How it writes tool calls.")
    reasoning_parser: str | None = Field(default=None, description="How it marks its reasoning.")
    lora: str | None = Field(default=None, description="Directory of a LoRA adapter.")
    tenant: str = Field(default="default", description="Whose share of the engine is used.")
    priority: int = Field(default=0, description="The smallest goes first.")
    timeout: float | None = Field(default=None, gt=0, description="Bound of an answer, seconds.")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Variables for the chat template."
    )
    is_function_calling_model: bool = Field(default=True, description="What LlamaIndex is told.")

    _holder: EngineHolder = PrivateAttr()

    def __init__(
        self,
        model: str = "",
        *,
        engine_config: EngineConfig | None = None,
        engine: StreamEngine | None = None,
        temperature: float = DEFAULT_TEMPERATURE,
        max_tokens: int = DEFAULT_NUM_OUTPUTS,
        stop: list[str] | None = None,
        seed: int | None = None,
        additional_kwargs: dict[str, Any] | None = None,
        tool_call_parser: str | None = None,
        reasoning_parser: str | None = None,
        lora: str | None = None,
        tenant: str = "default",
        priority: int = 0,
        timeout: float | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        is_function_calling_model: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            engine_config=engine.config if engine is not None else engine_config,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            additional_kwargs=additional_kwargs or {},
            tool_call_parser=tool_call_parser,
            reasoning_parser=reasoning_parser,
            lora=lora,
            tenant=tenant,
            priority=priority,
            timeout=timeout,
            chat_template_kwargs=chat_template_kwargs or {},
            is_function_calling_model=is_function_calling_model,
            **kwargs,
        )
        # The validated one: what comes out of `from_dict` is a dictionary up to here.
        config = self.engine_config or EngineConfig(model=model)
        if model and model != config.model:
            msg = f"model {model!r} is not the engine's, {config.model!r}: leave one of them out"
            raise EngineConfigError(msg)
        self.model = config.model
        self._holder = EngineHolder(config, engine)

    @classmethod
    def class_name(cls) -> str:
        """Returns the name under which the LLM is serialised."""
        return "Stream2LLM"

    @property
    def engine(self) -> StreamEngine:
        """The engine, which may not be started yet."""
        return self._holder.engine()

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex packs prompts by; see the class about loading the model."""
        return LazyMetadata(
            self._context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    def to_payload(self) -> dict[str, Any]:
        """Describes the model to observers, which must not load it."""
        return {
            "class_name": self.class_name(),
            "model_name": self.model,
            "is_chat_model": True,
            "context_window": self._holder.context_window(),
            "num_output": self.max_tokens,
            "temperature": self.temperature,
        }

    def close(self) -> None:
        """Gives the shared engine up, which frees it if no other model uses it.

        A later call starts it again. An engine given as ``engine`` stays as it is.
        """
        self._holder.close()

    async def aclose(self) -> None:
        """Does what ``close`` does."""
        await asyncio.to_thread(self.close)

    # -- asynchronous ----------------------------------------------------------------------------

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation."""
        await self._loaded()
        return (await _last(self._chat(messages, kwargs))).as_chat()

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Answers a prompt: a user's message, or if ``formatted`` the model's very input."""
        await self._loaded()
        return (await _last(self._complete(prompt, formatted, kwargs))).as_completion()

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answers a conversation piece by piece; work starts with the call."""
        await self._loaded()
        pieces = self._chat(messages, kwargs)
        return AsyncStream(pieces, Piece.as_chat, kwargs.get("live_nodes"))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Answers a prompt piece by piece; work starts with the call."""
        await self._loaded()
        pieces = self._complete(prompt, formatted, kwargs)
        return AsyncStream(pieces, Piece.as_completion)

    # -- synchronous -----------------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation."""
        pieces = self._chat(messages, kwargs)
        return _last_of(Stream(self.engine, pieces, Piece.as_chat, kwargs.get("live_nodes")))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answers a prompt: a user's message, or if ``formatted`` the model's very input."""
        pieces = self._complete(prompt, formatted, kwargs)
        return _last_of(Stream(self.engine, pieces, Piece.as_completion))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answers a conversation piece by piece; work starts with the call."""
        pieces = self._chat(messages, kwargs)
        return Stream(self.engine, pieces, Piece.as_chat, kwargs.get("live_nodes"))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Answers a prompt piece by piece; work starts with the call."""
        pieces = self._complete(prompt, formatted, kwargs)
        return Stream(self.engine, pieces, Piece.as_completion)

    # -- tools -----------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        del verbose
        messages = list(chat_history or [])
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        choice = kwargs.pop("tool_choice", None) or ("required" if tool_required else None)
        return {
            **kwargs,
            "messages": messages,
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        # A forced answer holds one call anyway; a model that may choose can write more.
        calls = response.message.additional_kwargs.get("tool_calls")
        if calls and not allow_parallel_tool_calls:
            response.message.additional_kwargs["tool_calls"] = calls[:1]
        return response

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Returns the tool calls of a response.

        Raises:
            InvalidRequestError: A call was cut off.
            ValueError: There is none, and ``error_on_no_tool_call``.
        """
        found = selections(response)
        if not found and error_on_no_tool_call:
            msg = f"the model called no tool but answered {response.message.content!r}"
            raise ValueError(msg)
        return found

    # -- requests --------------------------------------------------------------------------------

    async def _loaded(self) -> None:
        # Loading vLLM takes long, and building a request imports it.
        await self.engine.start()

    def _context_window(self) -> int:
        window = self._holder.context_window()
        if window is None:
            self.engine.run(self.engine.start())
            window = self.engine.max_prompt_tokens + 1
        return window

    def _chat(
        self, messages: Sequence[ChatMessage], options: dict[str, Any]
    ) -> AsyncGenerator[Piece, None]:
        return answer(self.engine, chat_request(self, messages, options))

    def _complete(
        self, prompt: str, formatted: bool, options: dict[str, Any]
    ) -> AsyncGenerator[Piece, None]:
        if formatted:
            return answer(self.engine, text_request(self, prompt, options))
        return self._chat([ChatMessage(role=MessageRole.USER, content=prompt)], options)


async def _last(pieces: AsyncGenerator[Piece, None]) -> Piece:
    last = Piece()
    async with aclosing(pieces):
        async for piece in pieces:
            last = piece
    return last


def _last_of(responses: Stream[T]) -> T:
    """Returns the last of at least one response, which is the whole answer."""
    with closing(responses):
        *_, last = responses
    return last
