"""What the adapter makes of vLLM's parsers and grammars, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams
from vllm.tool_parsers import ToolParserManager

from stream2llm_engine import EngineConfigError, InvalidRequestError, StreamOutput
from stream2llm_engine.answers import AnswerDelta, AnswerFormat, ToolCallDelta
from stream2llm_engine.vllm_adapter.answer_parsing import AnswerRules
from stream2llm_engine.vllm_adapter.lora import lora_request
from stream2llm_engine.vllm_adapter.reasoning import REASONING_PARSER_KWARGS
from tests.support.chat_llama import REASONING_PARSER, TOOL_CALL_PARSER, load_chat_tokenizer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}},
                "required": ["a"],
            },
        },
    }
]
BY_NAME = {"type": "function", "function": {"name": "add"}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_chat_tokenizer(tmp_path_factory.mktemp("chat-tokenizer"))


def constraint(rules: AnswerRules) -> Any:
    params = SamplingParams()
    rules.constrain(params)
    return params.structured_outputs


def read(tokenizer: Any, rules: AnswerRules, text: str, *, prompt: str = "", step: int = 1) -> Any:
    """Reads ``text`` in deltas of ``step`` tokens; returns the deltas and the reasoning tokens."""
    encode = tokenizer.encode
    ids = encode(text, add_special_tokens=False)
    reader = rules.reader(encode(prompt, add_special_tokens=False))
    deltas = [
        reader.read(
            StreamOutput(
                index=0,
                text=tokenizer.decode(ids[start : start + step]),
                token_ids=tuple(ids[start : start + step]),
                finish_reason="stop" if start + step >= len(ids) else None,
            )
        )
        for start in range(0, len(ids), step)
    ]
    return deltas, reader.reasoning_tokens


def joined(deltas: list[AnswerDelta]) -> AnswerDelta:
    calls: dict[int, ToolCallDelta] = {}
    for piece in (call for delta in deltas for call in delta.tool_calls):
        before = calls.get(piece.index, ToolCallDelta(index=piece.index))
        calls[piece.index] = ToolCallDelta(
            index=piece.index,
            name=before.name or piece.name,
            arguments=before.arguments + piece.arguments,
        )
    return AnswerDelta(
        text="".join(delta.text for delta in deltas),
        reasoning="".join(delta.reasoning for delta in deltas),
        tool_calls=tuple(calls.values()),
    )


@pytest.mark.parametrize("choice", ["required", BY_NAME], ids=["any", "name"])
@pytest.mark.parametrize("parser", [None, *ToolParserManager.list_registered()])
def test_a_forced_call_is_held_to_its_schema_with_every_parser(
    tokenizer: Any, parser: str | None, choice: Any
) -> None:
    answer_format = AnswerFormat(tools=TOOLS, tool_choice=choice, tool_parser=parser)
    try:
        rules = AnswerRules(tokenizer, answer_format)
    except EngineConfigError as error:
        assert "cannot read" in str(error)  # noqa: PT017 - this tokenizer lacks the parser's marks
        return
    assert '"integer"' in json.dumps(vars(constraint(rules)), default=str).replace("\\", "")


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("parser", "choice", "text"),
    [
        (TOOL_CALL_PARSER, "auto", CALL),
        (TOOL_CALL_PARSER, "required", CALL),
        (None, "required", '[{"name": "add", "parameters": {"a": 3}}]'),
        (None, BY_NAME, '{"a": 3}'),
    ],
)
def test_a_call_is_read_however_many_tokens_come_at_once(
    tokenizer: Any, parser: str | None, choice: Any, text: str, step: int
) -> None:
    rules = AnswerRules(
        tokenizer, AnswerFormat(tools=TOOLS, tool_choice=choice, tool_parser=parser)
    )
    deltas, _ = read(tokenizer, rules, text, step=step)
    for delta in deltas:
        indexes = [call.index for call in delta.tool_calls]
        assert len(set(indexes)) == len(indexes)
    (call,) = joined(deltas).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 3})


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", "<think>Hm, so.</think>Three."),
        ("<|assistant|>\n<think>\n", "Hm, so.</think>Three."),
        ("<think>Old.</think>Two.<|assistant|>\n<think>\n", "Hm, so.</think>Three."),
    ],
)
def test_reasoning_counts_whether_the_prompt_opens_it_or_the_answer(
    tokenizer: Any, prompt: str, text: str
) -> None:
    rules = AnswerRules(tokenizer, AnswerFormat(reasoning_parser=REASONING_PARSER))
    deltas, tokens = read(tokenizer, rules, text, prompt=prompt)
    assert joined(deltas) == AnswerDelta(text="Three.", reasoning="Hm, so.")
    assert tokens == len(tokenizer.encode("Hm, so.", add_special_tokens=False))


def test_reasoning_that_the_prompt_ends_is_over(tokenizer: Any) -> None:
    rules = AnswerRules(tokenizer, AnswerFormat(reasoning_parser=REASONING_PARSER))
    deltas, tokens = read(tokenizer, rules, "Three.", prompt="<think>\n\n</think>\n\n")
    assert (joined(deltas), tokens) == (AnswerDelta(text="Three."), 0)


def test_answers_to_one_request_are_read_apart(tokenizer: Any) -> None:
    rules = AnswerRules(tokenizer, AnswerFormat(tools=TOOLS, tool_parser=TOOL_CALL_PARSER))
    for _ in range(2):
        (call,) = joined(read(tokenizer, rules, CALL)[0]).tool_calls
        assert call.arguments == '{"a": 3}'


def test_a_parser_gets_to_see_the_marks_it_needs(tokenizer: Any) -> None:
    params = SamplingParams()
    AnswerRules(tokenizer, AnswerFormat(tools=TOOLS, tool_parser=TOOL_CALL_PARSER)).constrain(
        params
    )
    assert params.skip_special_tokens is False
    params = SamplingParams(skip_special_tokens=False)
    AnswerRules(tokenizer, AnswerFormat(response_format={"type": "json_object"})).constrain(params)
    assert params.skip_special_tokens is False


def test_the_parser_in_the_core_is_told_what_the_template_was_told(tokenizer: Any) -> None:
    kwargs = {"enable_thinking": True}
    params = SamplingParams(extra_args={"mine": 1})
    thinking = AnswerFormat(reasoning_parser=REASONING_PARSER, template_kwargs=kwargs)
    AnswerRules(tokenizer, thinking).constrain(params)
    assert params.extra_args == {
        "mine": 1,
        REASONING_PARSER_KWARGS: {"chat_template_kwargs": kwargs},
    }
    params = SamplingParams()
    AnswerRules(tokenizer, AnswerFormat(tools=TOOLS, template_kwargs=kwargs)).constrain(params)
    assert params.extra_args is None


def test_a_forced_call_comes_before_any_other_constraint(tokenizer: Any) -> None:
    form = {"type": "json_object"}
    choice = StructuredOutputsParams(choice=["yes"])
    for tools, expected in ((TOOLS, "json"), ([], "json_object")):
        rules = AnswerRules(
            tokenizer,
            AnswerFormat(
                tools=tools, tool_choice="required" if tools else "auto", response_format=form
            ),
        )
        assert getattr(constraint(rules), expected)
    rules = AnswerRules(tokenizer, AnswerFormat(structured_outputs=choice))
    assert constraint(rules).choice == ["yes"]


@pytest.mark.parametrize(
    ("answer_format", "error"),
    [
        (AnswerFormat(tools=TOOLS, tool_parser="nope"), EngineConfigError),
        (AnswerFormat(reasoning_parser="nope"), EngineConfigError),
        (AnswerFormat(tools=[{"type": "function"}]), InvalidRequestError),
        (AnswerFormat(tools=TOOLS, tool_choice="sometimes"), InvalidRequestError),
        (AnswerFormat(response_format={"type": "yaml"}), InvalidRequestError),
    ],
)
def test_what_vllm_does_not_know_is_a_typed_error(
    tokenizer: Any, answer_format: AnswerFormat, error: type[Exception]
) -> None:
    with pytest.raises(error):
        AnswerRules(tokenizer, answer_format)


@pytest.mark.parametrize(
    ("answer_format", "plain", "forces"),
    [
        (AnswerFormat(), True, False),
        (AnswerFormat(tool_parser="hermes", tool_choice="required"), True, False),
        (AnswerFormat(tools=TOOLS), False, False),
        (AnswerFormat(tools=TOOLS, tool_choice="none"), False, False),
        (AnswerFormat(tools=TOOLS, tool_choice=BY_NAME), False, True),
        (AnswerFormat(reasoning_parser="qwen3"), False, False),
        (AnswerFormat(response_format={"type": "json_object"}), False, False),
    ],
)
def test_a_format_knows_whether_it_asks_for_anything(
    answer_format: AnswerFormat, plain: bool, forces: bool
) -> None:
    assert (answer_format.is_plain, answer_format.forces_tools) == (plain, forces)


def test_an_adapter_is_one_request_however_it_is_named(tmp_path: Any) -> None:
    first, again, other = (
        lora_request(tmp_path / "x"),
        lora_request(str(tmp_path / "x")),
        lora_request(tmp_path / "y"),
    )
    assert first is again
    assert first.lora_int_id != other.lora_int_id
    assert first.lora_path == str(tmp_path / "x")
