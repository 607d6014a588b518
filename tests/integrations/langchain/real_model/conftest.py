"""One engine for the folder: vLLM with random weights, a reasoning parser and a LoRA adapter.

What holds for any model holds for these. They know no JSON and would write strings without end, so
the sampling favours characters that close what is open. What is well-formed is so because of vLLM's
grammars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_stream2llm import ChatStream2LLM
from stream2llm_engine import StreamEngine
from tests.support.chat_llama import (
    TOOL_CALL_PARSER,
    brief_sampling,
    chat_engine_config,
    save_chat_llama_and_adapter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a LoRA adapter for it."""
    return save_chat_llama_and_adapter(tmp_path_factory.mktemp("chat-llama"))


@pytest.fixture(scope="package")
def engine(home: Path) -> Iterator[StreamEngine]:
    config = chat_engine_config(home / "model")
    # This parser sees reasoning only if the variables of the chat template tell it of it.
    vllm = {**config.vllm, "reasoning_parser": "deepseek_v3"}
    engine = StreamEngine(config.model_copy(update={"vllm": vllm}))
    engine.run(engine.start())
    yield engine
    engine.close()


@pytest.fixture
def params(engine: StreamEngine, home: Path) -> dict[str, Any]:
    return {
        "engine": engine,
        "temperature": 0,
        "max_tokens": 200,
        "sampling": brief_sampling(engine.tokenizer),
        "tool_call_parser": TOOL_CALL_PARSER,
        "lora_adapters": {"adapter": home / "adapter"},
    }


@pytest.fixture
def llm(params: dict[str, Any]) -> ChatStream2LLM:
    return ChatStream2LLM(**params)


@pytest.fixture
def plain(engine: StreamEngine) -> ChatStream2LLM:
    """Without favours."""
    return ChatStream2LLM(engine=engine, temperature=0, max_tokens=12)


@pytest.fixture
def thinking(params: dict[str, Any], engine: StreamEngine) -> ChatStream2LLM:
    """Has enough of its letters at some point, and ends its reasoning."""
    return ChatStream2LLM(
        **{**params, "sampling": brief_sampling(engine.tokenizer, **{"</think>": 80.0})},
        chat_template_kwargs={"enable_thinking": True},
    )
