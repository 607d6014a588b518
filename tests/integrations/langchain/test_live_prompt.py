"""The live handle: nobody ever answers from a part of the prompt by accident."""

import asyncio
import copy
import pickle
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_stream2llm import DocumentDelta, materialize
from langchain_stream2llm._context_prompt import ContextFormat, ContextPrompt
from langchain_stream2llm._live_prompt import (
    LivePrompt,
    LivePromptValue,
    find_live_prompt,
    open_live_prompt,
)
from stream2llm_engine import InvalidRequestError, UnsupportedFeatureError
from stream2llm_rag import Append, PromptTemplateError, Update
from tests.integrations.langchain.fakes import docs

FORMAT = ContextFormat(PromptTemplate.from_template("{page_content}"), "\n\n")


def live_prompt(*messages: Any, **values: Any) -> LivePromptValue:
    template = ChatPromptTemplate.from_messages(list(messages) or [("human", "See {context}!")])
    return LivePromptValue(
        live=LivePrompt(ContextPrompt.from_template(template, values, "context", FORMAT))
    )


@pytest.mark.parametrize("read", ["to_messages", "to_string"])
def test_an_unfinished_prompt_cannot_be_read(read: str) -> None:
    value = live_prompt()
    value.live.add(docs("a"))
    with pytest.raises(UnsupportedFeatureError, match="materialize"):
        getattr(value, read)()


def test_a_finished_prompt_is_what_an_ordinary_template_gives() -> None:
    template = ChatPromptTemplate.from_messages(
        [("system", "Be {x}."), ("human", "See {context}!")]
    )
    value = live_prompt(*template.messages, x="kind")
    for delta in (docs(a="A", b="B"), DocumentDelta(docs(c="C", b="B2"), retract=["a"])):
        value.live.add(delta)
    value.live.context.close()
    ordinary = template.invoke({"x": "kind", "context": "B2\n\nC"})
    assert value.to_messages() == ordinary.to_messages()
    assert value.to_string() == ordinary.to_string()


def test_a_prompt_whose_retrieval_failed_raises_that_error() -> None:
    value = live_prompt()
    value.live.context.close(ValueError("index gone"))
    with pytest.raises(ValueError, match="index gone"):
        value.to_messages()


def test_a_model_that_does_not_know_live_prompts_refuses_an_unfinished_one() -> None:
    value = live_prompt()
    with pytest.raises(UnsupportedFeatureError):
        FakeListChatModel(responses=["wrong"]).invoke(value)


async def test_materialize_waits_for_the_whole_context() -> None:
    value = live_prompt()
    seen = []
    model: Runnable[Any, Any] = RunnableLambda(lambda prompt: seen.append(prompt.to_string()))
    waiting = asyncio.create_task((materialize | model).ainvoke(value))
    await asyncio.sleep(0)
    value.live.add(docs("a", "b"))
    assert not seen
    value.live.context.close()
    await waiting
    await asyncio.to_thread((materialize | model).invoke, value)
    assert seen == ["Human: See a\n\nb!"] * 2


async def test_materialize_passes_anything_else_on() -> None:
    assert materialize.invoke("text") == "text"
    assert await materialize.ainvoke("text") == "text"


def test_growth_is_an_append_and_any_other_change_an_update() -> None:
    live = live_prompt().live
    live.add(docs("a", b="B"))
    events = [live.add(docs("c")), live.add(docs(b="B2")), live.add(DocumentDelta(retract=["b"]))]
    assert [type(event) for event in events] == [Append, Update, Update]
    assert [document.text for document in live.context.documents] == ["a", "c"]


def test_what_changes_nothing_is_no_event() -> None:
    live = live_prompt().live
    live.add(docs(a="A"))
    assert live.add([]) is None
    assert live.add(DocumentDelta(docs(a="A"), retract=["b"])) is None
    assert live.documents == docs(a="A")


def test_repeated_documents_are_repeated_in_the_prompt() -> None:
    live = live_prompt().live
    live.add(docs("same", "same"))
    live.add(docs("same"))
    live.context.close()
    assert live.messages()[0].content == "See same\n\nsame\n\nsame!"


@pytest.mark.parametrize("role", [("human", HumanMessage), ("system", SystemMessage)])
def test_the_opened_messages_carry_the_handle_and_look_ordinary(
    role: tuple[str, type[BaseMessage]],
) -> None:
    name, kind = role
    value = live_prompt(("human", "first"), (name, "See {context}!"))
    messages = open_live_prompt(value.live).to_messages()
    assert isinstance(messages[1], kind)
    assert find_live_prompt(messages) is value.live
    assert find_live_prompt([message.model_copy() for message in messages]) is value.live
    assert find_live_prompt(copy.deepcopy(messages)) is value.live
    assert dumpd(messages[1])["id"] == dumpd(kind("x"))["id"]
    assert "still arriving" in messages[1].content
    assert find_live_prompt([HumanMessage("x")]) is None


def test_a_handle_is_copied_by_reference_and_never_stored() -> None:
    value = live_prompt()
    assert copy.deepcopy(value).live is value.live
    assert copy.copy(value.live) is value.live
    with pytest.raises(UnsupportedFeatureError, match="materialize"):
        pickle.dumps(value)
    for dump in (value.model_dump, value.model_dump_json):
        with pytest.raises(ValueError, match="materialize"):
            dump()
    assert dumpd(value)["type"] == "not_implemented"
    assert "open" in repr(value), "which is what traces show"


def test_the_context_may_stand_in_a_text_block() -> None:
    value = live_prompt(("human", [{"type": "text", "text": "See {context}"}, "!"]))
    value.live.add(docs("a"))
    value.live.context.close()
    assert value.to_messages()[0].text == "See a!"


def test_the_context_needs_a_human_or_a_system_message() -> None:
    with pytest.raises(PromptTemplateError, match="human or a system"):
        open_live_prompt(live_prompt(("ai", "See {context}!")).live)


@pytest.mark.parametrize("text", ["{context} {context}", "none"])
def test_the_context_stands_in_the_prompt_exactly_once(text: str) -> None:
    with pytest.raises(PromptTemplateError, match="exactly once"):
        live_prompt(("human", text))


def test_every_variable_needs_a_value() -> None:
    with pytest.raises(InvalidRequestError, match="question"):
        live_prompt(("human", "{context} {question}"), other="x")
