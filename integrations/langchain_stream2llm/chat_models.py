"""The chat model: vLLM in this process, with prompts that may still be arriving."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from langchain_stream2llm._answers import Request, answer
from langchain_stream2llm._background import iterate
from langchain_stream2llm._engines import EngineUser, release_engine, shared_engine
from langchain_stream2llm._live_model import LiveChatModel
from langchain_stream2llm._sampling import sampling_params
from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_engine.errors import UnsupportedFeatureError

__all__ = ["ChatStream2LLM"]


class ChatStream2LLM(LiveChatModel):
    """A chat model on an in-process vLLM engine that prefills context while it is retrieved.

    It is an ordinary LangChain chat model. Given a prompt whose context is still arriving, from
    ``create_streaming_rag_chain`` or ``StreamingChatPromptTemplate``, it computes what is there and
    starts the answer when the context is complete.

    Nothing loads before the first call. Models of one configuration share one engine, which
    ``close`` frees; an engine given as ``engine`` stays its owner's.

    ```python
    llm = ChatStream2LLM(model="Qwen/Qwen3-0.6B", temperature=0, max_tokens=256)
    llm.invoke("Hello!").text
    ```

    Attributes:
        model: Directory or hub id of the model; may be left out if ``engine`` is given.
        engine: A running or not yet started engine to use instead of a shared one.
        engine_options: Other fields of ``EngineConfig``, as in
            ``{"vllm": {"max_model_len": 8192}}``.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Nucleus sampling.
        seed: Seed of the sampling.
        max_tokens: Longest answer; by default whatever the model's length leaves.
        stop: Strings that end the answer; ``stop`` of a call replaces them.
        sampling: Any other field of vLLM's ``SamplingParams``.
        tenant: Whose share of the engine the calls use.
        timeout: Seconds within which an answer must be complete.
        max_retries: Accepted as other chat models do; nothing in this process is worth a retry.
        chat_template: Replaces the model's chat template.
        chat_template_kwargs: Variables for the chat template, as in
            ``{"enable_thinking": False}``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = ""
    engine: StreamEngine | None = Field(default=None, exclude=True, repr=False)
    engine_options: dict[str, Any] = Field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    tenant: str = "default"
    timeout: float | None = None
    max_retries: int | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    _user: EngineUser = PrivateAttr(default_factory=EngineUser)

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.engine is None:
            self._engine_config()
        elif not self.model:
            self.model = self.engine.config.model
        elif self.model != self.engine.config.model:
            msg = f"model {self.model!r} is not the engine's, {self.engine.config.model!r}"
            raise ValueError(msg)
        return self

    @property
    def _llm_type(self) -> str:
        return "stream2llm"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {
            "model": self.model,
            **self._sampling_options(),
            "chat_template": self.chat_template,
            "chat_template_kwargs": self.chat_template_kwargs,
        }

    def close(self) -> None:
        """Gives the shared engine up, which frees it if no other model uses it.

        A later call starts it again. An engine given as ``engine`` stays as it is.
        """
        release_engine(self._user)

    async def aclose(self) -> None:
        """Does what ``close`` does."""
        await asyncio.to_thread(self.close)

    def get_token_ids(self, text: str) -> list[int]:
        """Tokenises ``text`` as the model does, loading the model first if need be."""
        engine = self._engine()
        engine.run(engine.start())
        return list(engine.tokenizer.encode(text, add_special_tokens=False))

    def _engine(self) -> StreamEngine:
        return self.engine or shared_engine(self._engine_config(), self._user)

    def _engine_config(self) -> EngineConfig:
        return EngineConfig(model=self.model, **self.engine_options)

    def _sampling_options(self) -> dict[str, Any]:
        options = {
            name: getattr(self, name)
            for name in ("temperature", "top_p", "seed", "max_tokens", "stop")
        }
        return {
            **{name: value for name, value in options.items() if value is not None},
            **self.sampling,
        }

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]
    ) -> Request:
        call = {name: value for name, value in options.items() if name != "stream"}
        if call.pop("model", self.model) != self.model:
            msg = f"this model serves {self.model!r} only; make a ChatStream2LLM for another one"
            raise UnsupportedFeatureError(msg)
        template_kwargs = {**self.chat_template_kwargs, **call.pop("chat_template_kwargs", {})}
        if self.chat_template is not None:
            template_kwargs.setdefault("chat_template", self.chat_template)
        tenant = call.pop("tenant", self.tenant)
        timeout = call.pop("timeout", self.timeout)
        ends = {} if stop is None else {"stop": stop}
        return Request(
            messages=messages,
            model=self.model,
            sampling_params=sampling_params({**self._sampling_options(), **call, **ends}),
            tenant=tenant,
            template_kwargs=template_kwargs,
            timeout_s=timeout,
        )

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(messages, stop, kwargs)
        async with aclosing(answer(self._engine(), request)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = self._request(messages, stop, kwargs)
        engine = self._engine()
        yield from iterate(engine.run, answer(engine, request))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        chunks = [chunk async for chunk in answer(self._engine(), request)]
        return generate_from_stream(iter(chunks))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
