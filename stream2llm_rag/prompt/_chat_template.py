"""Splitting a rendered conversation at the place where the streamed context goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from stream2llm_rag.errors import PromptTemplateError
from stream2llm_rag.prompt._encoding import Tokenizer

__all__ = ["SENTINEL", "render_chat_template", "split_chat_template", "split_rendered"]

# Every kind of character that a template could escape, so that escaping shows as a missing sentinel
# instead of as documents that are inserted unescaped into escaped text.
SENTINEL = "<stream2llm:context slot='1' & \"é\">"


def render_chat_template(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **template_kwargs: Any
) -> str:
    """Returns the prompt text of a conversation, with the template's generation tail.

    A tokenizer without a chat template gets plain text: the contents of the messages with blank
    lines between, behind the BOS token if the tokenizer puts one.

    Args:
        tokenizer: The model's tokenizer.
        messages: The conversation.
        **template_kwargs: More variables for the chat template, such as ``enable_thinking`` or
            ``tools``; ``chat_template`` itself replaces the model's.

    Raises:
        PromptTemplateError: The template does not take the messages.
    """
    if not (template_kwargs.get("chat_template") or getattr(tokenizer, "chat_template", None)):
        contents = [_plain_content(message) for message in messages]
        return _bos_text(tokenizer) + "\n\n".join(filter(None, contents))
    try:
        rendered = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **template_kwargs
        )
    except Exception as error:
        msg = f"the chat template cannot render the messages; change roles or contents: {error}"
        raise PromptTemplateError(msg) from error
    return str(rendered)


def split_chat_template(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **template_kwargs: Any
) -> tuple[str, str]:
    """Renders messages whose context is ``SENTINEL`` and splits the result there.

    Args:
        tokenizer: The model's tokenizer.
        messages: The conversation; exactly one message content holds ``SENTINEL``, once.
        **template_kwargs: As ``render_chat_template`` takes them.

    Returns:
        The text before and after the context; the first includes whatever the template starts with.

    Raises:
        PromptTemplateError: The template fails, or drops, repeats or escapes the context.
    """
    return split_rendered(render_chat_template(tokenizer, messages, **template_kwargs))


def split_rendered(text: str) -> tuple[str, str]:
    """Splits already rendered text at ``SENTINEL``.

    Raises:
        PromptTemplateError: The sentinel is not there exactly once.
    """
    found = text.count(SENTINEL)
    if found != 1:
        problem = (
            "drops or escapes the context" if found == 0 else f"repeats the context {found} times"
        )
        msg = f"the prompt template {problem}; it must appear exactly once and unchanged"
        raise PromptTemplateError(msg)
    prefix, _, suffix = text.partition(SENTINEL)
    return prefix, suffix


def _plain_content(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _bos_text(tokenizer: Tokenizer) -> str:
    if tokenizer.bos_token_id is None:
        return ""
    starts_with_bos = tokenizer.encode("a", add_special_tokens=True)[0] == tokenizer.bos_token_id
    return str(tokenizer.bos_token) if starts_with_bos else ""
