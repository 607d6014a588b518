import pytest
from transformers import PreTrainedTokenizerFast

from stream2llm_rag import PromptTemplateError, split_chat_template
from stream2llm_rag.prompt import SENTINEL, render_chat_template, split_rendered

MESSAGES = [
    {"role": "system", "content": "You answer."},
    {"role": "user", "content": f"Read this:\n{SENTINEL}\nWhat is it?"},
]


def test_a_chat_template_is_split_at_the_context(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    prefix, suffix = split_chat_template(chat_tokenizer, MESSAGES)
    assert prefix == "<s><|system|>\nYou answer.<|end|>\n<|user|>\nRead this:\n"
    assert suffix == "\nWhat is it?<|end|>\n<|assistant|>\n"


def test_without_a_chat_template_the_prompt_is_plain_text(
    plain_tokenizer: PreTrainedTokenizerFast,
) -> None:
    prefix, suffix = split_chat_template(plain_tokenizer, MESSAGES)
    assert prefix == "<s>You answer.\n\nRead this:\n"
    assert suffix == "\nWhat is it?"


def test_a_context_in_content_parts(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    parts = [{"type": "text", "text": "Read:"}, {"type": "text", "text": SENTINEL}]
    prefix, suffix = split_chat_template(plain_tokenizer, [{"role": "user", "content": parts}])
    assert (prefix, suffix) == ("<s>Read:", "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{{ m.content | tojson }}", "drops or escapes"),
        ("{{ m.content | e }}", "drops or escapes"),
        ("{{ m.content | upper }}", "drops or escapes"),
        ("{{ m.role }}", "drops or escapes"),
        ("{{ m.content }}{{ m.content }}", "repeats the context 2 times"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_a_template_that_cannot_hold_the_context(
    plain_tokenizer: PreTrainedTokenizerFast, content: str, problem: str
) -> None:
    template = "{% for m in messages %}" + content + "{% endfor %}"
    plain_tokenizer.chat_template = template
    try:
        with pytest.raises(PromptTemplateError, match=problem):
            split_chat_template(plain_tokenizer, MESSAGES)
    finally:
        plain_tokenizer.chat_template = None


def test_template_variables_are_passed_on(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    original = chat_tokenizer.chat_template
    chat_tokenizer.chat_template = original + "{% if think %}<think>{% endif %}"
    try:
        assert split_chat_template(chat_tokenizer, MESSAGES, think=True)[1].endswith("<think>")
    finally:
        chat_tokenizer.chat_template = original


def test_a_question_with_the_sentinel_in_it_is_refused() -> None:
    with pytest.raises(PromptTemplateError, match="2 times"):
        split_rendered(f"{SENTINEL} {SENTINEL}")


def test_a_template_given_with_the_call_replaces_the_models(
    plain_tokenizer: PreTrainedTokenizerFast, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    messages = [{"role": "user", "content": "hello"}]
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    for tokenizer in (plain_tokenizer, chat_tokenizer):
        rendered = render_chat_template(tokenizer, messages, chat_template=template)
        assert rendered == "[user] hello"
