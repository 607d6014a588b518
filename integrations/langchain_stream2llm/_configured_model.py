"""The chat model's settings: what they may be, and what they make of a call."""

from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from langchain_core.language_models import ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from langchain_stream2llm._live_model import LiveChatModel
from langchain_stream2llm._profile import model_profile
from langchain_stream2llm._requests import Request, take_answer_format
from stream2llm_engine import EngineConfig, StreamEngine
from stream2llm_engine.errors import UnsupportedFeatureError
from stream2llm_rag.engine_sharing import EngineUser, shared_engine

__all__ = ["ConfiguredChatModel"]

_SAMPLING = (
    "temperature",
    "top_p",
    "seed",
    "max_tokens",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
)


class ConfiguredChatModel(LiveChatModel, ABC):
    """The settings of ``ChatStream2LLM``, which describes them."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str = ""
    engine: StreamEngine | None = Field(default=None, exclude=True, repr=False)
    engine_options: dict[str, Any] = Field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    lora_adapters: dict[str, str | Path] = Field(default_factory=dict)
    tenant: str = "default"
    priority: int = 0
    deadline_s: float | None = None
    timeout: float | None = None
    streaming: bool = False
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    _user: EngineUser = PrivateAttr(default_factory=EngineUser)

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        config = self._config()
        self.model = self.model or config.model
        if self.model != config.model and self.model not in self.lora_adapters:
            msg = f"model {self.model!r} is not the engine's, {config.model!r}"
            raise ValueError(msg)
        engines = config.vllm.get("reasoning_parser")
        self.reasoning_parser = self.reasoning_parser or engines
        if self.reasoning_parser != engines:
            msg = (
                f"the engine marks the end of reasoning by {engines!r}: start it with"
                f" EngineConfig(vllm={{'reasoning_parser': {self.reasoning_parser!r}}})"
            )
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
            "tool_call_parser": self.tool_call_parser,
            "reasoning_parser": self.reasoning_parser,
            "lora_adapters": {name: str(path) for name, path in self.lora_adapters.items()},
            "chat_template": self.chat_template,
            "chat_template_kwargs": self.chat_template_kwargs,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return super()._get_ls_params(stop=self.stop if stop is None else stop, **kwargs)

    def _resolve_model_profile(self) -> ModelProfile:
        return model_profile(
            self._config(),
            self.engine,
            tool_call_parser=self.tool_call_parser,
            reasoning_parser=self.reasoning_parser,
        )

    def _engine(self) -> StreamEngine:
        return self.engine or shared_engine(self._config(), self._user)

    def _config(self) -> EngineConfig:
        """Returns the engine's configuration, with what other settings need of it."""
        if self.engine is not None:
            return self.engine.config
        vllm = dict(self.engine_options.get("vllm", {}))
        if self.reasoning_parser is not None:
            vllm.setdefault("reasoning_parser", self.reasoning_parser)
        if self.lora_adapters:
            vllm.setdefault("enable_lora", True)
        return EngineConfig(model=self.model, **{**self.engine_options, "vllm": vllm})

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]
    ) -> Request:
        call = {**self._sampling_options(), **options}
        call.pop("stream", None)
        if stop is not None:
            call["stop"] = stop
        model = call.pop("model", None) or self.model
        template_kwargs = self._template_kwargs(call.pop("chat_template_kwargs", {}))
        scheduling = {
            name: call.pop(name, getattr(self, name))
            for name in ("tenant", "priority", "deadline_s")
        }
        timeout = call.pop("timeout", self.timeout)
        answer_format = take_answer_format(
            call,
            tool_call_parser=self.tool_call_parser,
            reasoning_parser=self.reasoning_parser,
            template_kwargs=template_kwargs,
        )
        if answer_format.tools:
            template_kwargs = {**template_kwargs, "tools": answer_format.tools}
        return Request(
            messages=messages,
            model=model,
            sampling=call,
            answer_format=answer_format,
            scheduling=scheduling,
            lora_path=self._lora_path(model),
            template_kwargs=template_kwargs,
            timeout_s=timeout,
        )

    def _sampling_options(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in _SAMPLING}
        return {
            **{name: value for name, value in options.items() if value is not None},
            **self.sampling,
        }

    def _template_kwargs(self, call: Mapping[str, Any]) -> dict[str, Any]:
        own = {} if self.chat_template is None else {"chat_template": self.chat_template}
        return {**own, **self.chat_template_kwargs, **call}

    def _lora_path(self, model: str) -> str | None:
        if model in self.lora_adapters:
            return str(self.lora_adapters[model])
        if model != self.model and model != (base := self._config().model):
            msg = (
                f"there is no model {model!r} here, only {[base, *self.lora_adapters]}; add a LoRA"
                " adapter to lora_adapters, or make a ChatStream2LLM for another model"
            )
            raise UnsupportedFeatureError(msg)
        return None
