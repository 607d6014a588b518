"""The prompt the reader expects, and the variations it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM_TEXT = "Answer the question from the documents."
DOCUMENT_TEMPLATE = "[{index}] {title}\n{text}\n\n"
QUESTION_TEMPLATE = "Question: {question}\nAnswer:"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The fixed texts of a prompt: the system text, and how documents and question are written."""

    system: str
    document: str
    question: str


DEFAULT_WORDING = Wording(
    system=SYSTEM_TEXT, document=DOCUMENT_TEMPLATE, question=QUESTION_TEMPLATE
)
"""The prompt the reader answers best."""

SYSTEM_TEXTS: tuple[str, ...] = (
    SYSTEM_TEXT,
    "Answer the question using only the context.",
    "You are a helpful assistant.",
    "You answer questions about the documents below. Be brief.",
    "Use the following pieces of context to answer the question at the end.",
    "You are an assistant for question-answering tasks. If you do not know the answer, say so.",
    "Read the documents carefully and answer in one sentence.",
    "Given the context information and no prior knowledge, answer the query.",
)
"""System texts seen in training; the empty one, no system message at all, is drawn too."""

INSTRUCTIONS: tuple[str, ...] = (
    "",
    "Documents:\n",
    "Context:\n",
    "Here is some context:\n\n",
    "Context information is below.\n---------------------\n",
    "Use these documents.\n\n",
    "# Context\n\n",
)
"""What may stand before the first document."""

DOCUMENT_TEMPLATES: tuple[str, ...] = (
    DOCUMENT_TEMPLATE,
    "{text}\n\n",
    "{text}\n",
    "{title}\n{text}\n\n",
    "Title: {title}\n{text}\n\n",
    "Document {index}: {text}\n\n",
    "- {text}\n",
    "## {title}\n{text}\n\n",
    "<document>\n{text}\n</document>\n",
    "{text}\n---\n",
    "Source: {title}.txt\n{text}\n\n",
)
"""How a document may be written."""

QUESTION_TEMPLATES: tuple[str, ...] = (
    QUESTION_TEMPLATE,
    "{question}",
    "Question: {question}",
    "Q: {question}\nA:",
    "Query: {question}\nAnswer:",
    "Answer this: {question}",
    "---------------------\nQuestion: {question}\nAnswer:",
    "Question: {question}\nHelpful Answer:",
)
"""How the question may be asked, after the documents."""

ABSENT = "The {attribute} of {entity} is not in the documents."
"""The answer when no document states the fact."""

PROMPT_TEXTS: tuple[str, ...] = (
    *SYSTEM_TEXTS,
    *INSTRUCTIONS,
    *DOCUMENT_TEMPLATES,
    *QUESTION_TEMPLATES,
    ABSENT,
)
"""Every fixed text around documents and questions, for the tokenizer's vocabulary."""
