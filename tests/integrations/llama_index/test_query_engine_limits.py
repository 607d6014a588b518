"""Nodes that do not fit into the context window are left out; nothing fails in mid-stream."""

from typing import Any

import pytest

from llama_index.llms.stream2llm import NodeUpdate, Stream2LLM
from stream2llm_engine import PromptTooLongError
from tests.integrations.llama_index.asking import HOW, ask, made, texts
from tests.integrations.llama_index.fakes import FakeEngine, ScriptedRetriever, node


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("limits", "max_tokens"), [({"limit": 90}, 20), ({"max_session_tokens": 71}, 9)]
)
async def test_nodes_that_do_not_fit_are_no_sources_and_a_warning_says_so(
    how: str, limits: dict[str, Any], max_tokens: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine(**limits)
    llm = Stream2LLM(engine=engine, max_tokens=max_tokens)
    retriever = ScriptedRetriever([[node("a")], [node("b" * 80), node("c")]])
    response = await ask(made(llm, retriever, how), how)
    assert engine.prompt == "<user>Read:\na\n\nc\nQ: what?</user><assistant>"
    assert texts(response) == ["a", "c"]
    metadata = dict(response.metadata or {})
    assert metadata.pop("stream2llm")["left_out"] == ["id-" + "b" * 80]
    assert list(metadata) == ["id-a", "id-c"]
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "do not fit" in warning.getMessage()
    assert "id-bbb" in warning.getMessage()
    engine.close()


async def test_a_node_that_did_not_fit_comes_in_when_an_update_makes_room() -> None:
    engine = FakeEngine(limit=90)
    llm = Stream2LLM(engine=engine, max_tokens=20)
    long, short = node("l" * 25), node("s" * 20)
    retriever = ScriptedRetriever([[long], [short], NodeUpdate([short])])
    response = await made(llm, retriever).aquery("what?")
    assert texts(response) == ["s" * 20]
    assert response.metadata["stream2llm"]["left_out"] == []
    engine.close()


async def test_a_max_tokens_that_leaves_no_room_is_a_typed_error() -> None:
    engine = FakeEngine(limit=90)
    llm = Stream2LLM(engine=engine, max_tokens=100)
    with pytest.raises(PromptTooLongError, match="lower it"):
        await made(llm, ScriptedRetriever([[node("a")]])).aquery("what?")
    engine.close()


async def test_a_prompt_without_room_for_any_node_is_a_typed_error() -> None:
    engine = FakeEngine(limit=20)
    with pytest.raises(PromptTooLongError):
        await made(Stream2LLM(engine=engine), ScriptedRetriever([])).aquery("what?")
    engine.close()
