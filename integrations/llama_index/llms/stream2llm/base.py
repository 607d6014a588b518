"""The LLM: vLLM in this process, whose prompts may still be arriving."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar

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
from llama_index.core.llms.llm import LLM
from pydantic import Field, PrivateAttr

from llama_index.llms.stream2llm._answers import Piece, Request, answer
from llama_index.llms.stream2llm._engine_holder import EngineHolder
from llama_index.llms.stream2llm._prompts import ChatPrompt, LivePrompt, Prompt, TextPrompt
from llama_index.llms.stream2llm._sampling import sampling_params
from llama_index.llms.stream2llm._streams import AsyncStream, Stream
from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_engine.errors import EngineConfigError

if TYPE_CHECKING:
    from llama_index.llms.stream2llm._live_nodes import LiveNodes

__all__ = ["Stream2LLM"]

T = TypeVar("T")


class Stream2LLM(LLM):
    """An LLM on an in-process vLLM engine that prefills context while it is retrieved.

    It is an ordinary LlamaIndex LLM that formats conversations with the model's own chat template
    (``messages_to_prompt`` and ``completion_to_prompt`` are not used). Under a
    ``StreamingQueryEngine`` it computes nodes as they are found. Extra keyword arguments of a call
    are fields of vLLM's ``SamplingParams``.

    Nothing loads before the first call. One exception: LlamaIndex packs prompts by
    ``metadata.context_window``, and reading that loads the model, unless ``max_model_len`` is
    among the engine's arguments.

    ```python
    llm = Stream2LLM("Qwen/Qwen3-0.6B", temperature=0, max_tokens=256)
    print(llm.complete("Hello!"))
    ```

    Args:
        model: Directory or hub id of the model; not needed with ``engine_config`` or ``engine``.
        engine_config: How to build the engine.
        engine: An engine to share instead; it stays its owner's to close.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Longest answer. A prompt leaves room for it.
        stop: Strings that end the answer.
        seed: Seed of the sampling.
        additional_kwargs: Other fields of vLLM's ``SamplingParams``.
        tenant: Whose share of the engine the calls use.
        chat_template_kwargs: Variables for the chat template, as in ``{"enable_thinking": False}``.
        **kwargs: What every LlamaIndex LLM takes, such as ``callback_manager``, ``system_prompt``.

    Raises:
        EngineConfigError: No model is given, or two different ones.
    """

    model: str = Field(default="", description="Directory or hub id of the model.")
    engine_config: EngineConfig | None = Field(default=None, description="How to build the engine.")
    temperature: float = Field(default=DEFAULT_TEMPERATURE, ge=0, description="0 is greedy.")
    max_tokens: int = Field(default=DEFAULT_NUM_OUTPUTS, gt=0, description="Longest answer.")
    stop: list[str] | None = Field(default=None, description="Strings that end the answer.")
    seed: int | None = Field(default=None, description="Seed of the sampling.")
    additional_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Other fields of vLLM's SamplingParams."
    )
    tenant: str = Field(default="default", description="Whose share of the engine is used.")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Variables for the chat template."
    )

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
        tenant: str = "default",
        chat_template_kwargs: dict[str, Any] | None = None,
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
            tenant=tenant,
            chat_template_kwargs=chat_template_kwargs or {},
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
        window = self._holder.context_window()
        if window is None:
            self.engine.run(self.engine.start())
            window = self.engine.max_prompt_tokens + 1
        return LLMMetadata(
            context_window=window,
            num_output=self.max_tokens,
            is_chat_model=True,
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
        """Frees the engine, unless it was given. A later call starts it again."""
        self._holder.close()

    async def aclose(self) -> None:
        """Does what ``close`` does."""
        await asyncio.to_thread(self.close)

    # -- asynchronous ----------------------------------------------------------------------------

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a conversation."""
        return (await _last(self._chat(messages, kwargs))).as_chat()

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Answers a prompt: a user's message, or if ``formatted`` the model's very input."""
        return (await _last(self._complete(prompt, formatted, kwargs))).as_completion()

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answers a conversation piece by piece; work starts with the call."""
        pieces = self._chat(messages, kwargs)
        return AsyncStream(pieces, Piece.as_chat, kwargs.get("live_nodes"))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Answers a prompt piece by piece; work starts with the call."""
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

    # -- requests --------------------------------------------------------------------------------

    def _chat(
        self, messages: Sequence[ChatMessage], options: dict[str, Any]
    ) -> AsyncGenerator[Piece, None]:
        sampling = dict(options)
        live: LiveNodes | None = sampling.pop("live_nodes", None)
        if live is None:
            return self._answer(ChatPrompt(messages, self.chat_template_kwargs), sampling)
        return self._answer(LivePrompt(messages, live, self.chat_template_kwargs), sampling)

    def _complete(
        self, prompt: str, formatted: bool, options: dict[str, Any]
    ) -> AsyncGenerator[Piece, None]:
        if formatted:
            return self._answer(TextPrompt(prompt), options)
        messages = [ChatMessage(role=MessageRole.USER, content=prompt)]
        return self._answer(ChatPrompt(messages, self.chat_template_kwargs), options)

    def _answer(self, prompt: Prompt, options: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        defaults = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "seed": self.seed,
        }
        request = Request(
            prompt=prompt,
            sampling_params=sampling_params({**defaults, **self.additional_kwargs, **options}),
            model=self.model,
            tenant=self.tenant,
        )
        return answer(self.engine, request)


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
