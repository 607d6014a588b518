"""The RAG prompt as a user writes it."""

from string import Formatter
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from stream2llm_rag.documents import Document
from stream2llm_rag.errors import PromptTemplateError
from stream2llm_rag.prompt._assembler import PromptAssembler
from stream2llm_rag.prompt._chat_template import SENTINEL, split_chat_template
from stream2llm_rag.prompt._encoding import Tokenizer
from stream2llm_rag.prompt._order import DocumentOrder

__all__ = ["RagPrompt"]

_DOCUMENT_FIELDS = frozenset({"id", "text", "score", "metadata"})


class RagPrompt(BaseModel):
    """Documents first, the question last, so that the prompt can stay open while they come in.

    Attributes:
        system: System message; empty for models whose chat template has none.
        instructions: What stands before the documents in the user's message.
        document_template: One document; fields ``{id}``, ``{text}``, ``{score}``,
            ``{metadata[key]}``. There is no running number: it would change when a document before
            it goes, and invalidate everything behind.
        question_template: What stands behind the documents; field ``{question}``.
        order: ``"stable"`` keeps documents that are already in the prompt where they are and puts
            newcomers behind; ``"rank"`` follows the retriever's ranking and recomputes from the
            first place that changed.
        separator: Text between the parts of the user's message and between documents.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = "You answer questions from the documents you are given."
    instructions: str = "Answer the question at the end, using only these documents."
    document_template: str = "{text}"
    question_template: str = "Question: {question}"
    order: DocumentOrder = "stable"
    separator: str = "\n\n"

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        _check_fields(self.document_template, required="text", allowed=_DOCUMENT_FIELDS)
        _check_fields(self.question_template, required="question", allowed=frozenset({"question"}))
        return self

    def render_document(self, document: Document) -> str:
        """Returns a document's text in the prompt.

        Raises:
            PromptTemplateError: The template names a metadata key that the document has not.
        """
        try:
            return self.document_template.format(
                id=document.id, text=document.text, score=document.score, metadata=document.metadata
            )
        except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
            template = self.document_template
            msg = f"document_template {template!r} does not fit {document.id!r}: {error!r}"
            raise PromptTemplateError(msg) from error

    def messages(self, question: str) -> list[dict[str, Any]]:
        """Returns the conversation with ``SENTINEL`` where the documents go."""
        asked = self.question_template.format(question=question)
        user = self.separator.join(filter(None, (self.instructions, SENTINEL, asked)))
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": user}]

    def assembler(
        self, tokenizer: Tokenizer, question: str, *, max_prompt_tokens: int | None = None
    ) -> PromptAssembler:
        """Prepares the prompt of one request.

        Raises:
            PromptTemplateError: The model's chat template cannot hold the streamed context.
            PromptTooLongError: The prompt without any document exceeds ``max_prompt_tokens``.
        """
        prefix, suffix = split_chat_template(tokenizer, self.messages(question))
        return PromptAssembler(
            tokenizer,
            prefix,
            suffix,
            self.render_document,
            order=self.order,
            separator=self.separator,
            max_prompt_tokens=max_prompt_tokens,
        )


def _check_fields(template: str, *, required: str, allowed: frozenset[str]) -> None:
    names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    roots = {name.partition("[")[0].partition(".")[0] for name in names}
    if required not in roots or not roots <= allowed:
        fields = ", ".join(f"{{{name}}}" for name in sorted(allowed))
        msg = f"template {template!r} must use {{{required}}} and no other field than {fields}"
        raise ValueError(msg)
