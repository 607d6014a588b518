import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from stream2llm_rag import Document, PromptTemplateError, RagPrompt
from stream2llm_rag.prompt import SENTINEL


def test_the_question_comes_last() -> None:
    system, user = RagPrompt(system="S", instructions="I", separator="\n").messages("Q {x}?")
    assert system == {"role": "system", "content": "S"}
    assert user == {"role": "user", "content": f"I\n{SENTINEL}\nQuestion: Q {{x}}?"}


def test_empty_parts_leave_no_separator(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = RagPrompt(system="", instructions="", question_template="{question}", separator="\n")
    made = prompt.assembler(plain_tokenizer, "Q")
    assert plain_tokenizer.decode(made.final_ids()) == "<s>\nQ"


def test_document_template_fields() -> None:
    prompt = RagPrompt(document_template="[{id}] {text} ({metadata[page]}, {score})")
    document = Document(id="a", text="{id}", score=0.5, metadata={"page": 3})
    assert prompt.render_document(document) == "[a] {id} (3, 0.5)"
    with pytest.raises(PromptTemplateError, match="'b'"):
        prompt.render_document(Document(id="b", text="x"))


@pytest.mark.parametrize(
    "template",
    [
        {"document_template": "{number} {text}"},
        {"document_template": "x"},
        {"question_template": "?"},
    ],
)
def test_templates_are_checked_when_written(template: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="template"):
        RagPrompt(**template)
