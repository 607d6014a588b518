"""Retrieval and answer as one chain that overlaps them in every method."""

from typing import Any, Literal, overload

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable

from langchain_stream2llm._chain import CONTEXT_EVENT, StreamingRagChain
from langchain_stream2llm._context_prompt import DEFAULT_DOCUMENT_PROMPT
from langchain_stream2llm._readers import reading_live_prompts
from langchain_stream2llm.retrievers import StreamingRetriever
from stream2llm_rag.errors import PromptTemplateError

__all__ = ["CONTEXT_EVENT", "create_streaming_rag_chain"]


@overload
def create_streaming_rag_chain(
    retriever: Runnable[str, list[Document]] | BaseLoader,
    prompt: BasePromptTemplate[Any],
    llm: Runnable[LanguageModelInput, BaseMessage],
    *,
    return_sources: Literal[False] = False,
    query: Runnable[dict[str, Any], str] | None = None,
    question_key: str = "question",
    document_variable_name: str = "context",
    document_prompt: BasePromptTemplate[str] | None = None,
    document_separator: str = "\n\n",
) -> Runnable[dict[str, Any], BaseMessage]: ...


@overload
def create_streaming_rag_chain(
    retriever: Runnable[str, list[Document]] | BaseLoader,
    prompt: BasePromptTemplate[Any],
    llm: Runnable[LanguageModelInput, Any],
    *,
    return_sources: bool = False,
    query: Runnable[dict[str, Any], str] | None = None,
    question_key: str = "question",
    document_variable_name: str = "context",
    document_prompt: BasePromptTemplate[str] | None = None,
    document_separator: str = "\n\n",
) -> Runnable[dict[str, Any], Any]: ...


def create_streaming_rag_chain(
    retriever: Runnable[str, list[Document]] | BaseLoader,
    prompt: BasePromptTemplate[Any],
    llm: Runnable[LanguageModelInput, Any],
    *,
    return_sources: bool = False,
    query: Runnable[dict[str, Any], str] | None = None,
    question_key: str = "question",
    document_variable_name: str = "context",
    document_prompt: BasePromptTemplate[str] | None = None,
    document_separator: str = "\n\n",
) -> Runnable[dict[str, Any], Any]:
    """Makes a chain that answers a question from what the retriever finds.

    ``ChatStream2LLM`` computes the prompt while documents are still arriving, whether the chain is
    streamed, invoked or batched, synchronously or not. The prompt is the one that an ordinary chain
    builds from the same documents. Any other model gets it when it is complete.

    ```python
    chain = create_streaming_rag_chain(retriever, prompt, ChatStream2LLM(model="..."))
    async for chunk in chain.astream({"question": "What is the capital of Zorland?"}):
        print(chunk.text, end="")
    ```

    Whose request it is and how urgent goes with the call, ``chain.bind(tenant="a", priority=1,
    deadline_s=5)``, or with its config, which reaches the chain through graphs and other chains:
    ``{"configurable": {"stream2llm": {"tenant": "a"}}}``.

    Args:
        retriever: Anything that ``StreamingRetriever.wrap`` takes.
        prompt: A prompt with a variable for the documents and any others, which the input has to
            hold. Put the question behind the documents: what stands behind them is computed last.
            A chat history before them is computed while the retriever searches.
        llm: The model, perhaps with ``bind``, ``with_config``, ``with_retry`` or
            ``with_fallbacks``, or piped into an output parser.
        return_sources: Return the sources as well: the input, ``"context"``, the list of documents,
            and ``"answer"``, as LangChain's ``create_retrieval_chain`` does. Streams bring the
            documents as they are found, as ``DocumentDelta``, and then the answer.
        query: Makes the retriever's query from the input, such as a model that rewrites the
            question in the light of the chat history. By default it is the question.
        question_key: Key of the question in the input.
        document_variable_name: Variable of the prompt that takes the documents.
        document_prompt: How a document is written; by default its ``page_content``.
        document_separator: Text between documents.

    Returns:
        A Runnable from ``{"question": ..., ...}`` to the model's message, or to a dictionary. The
        last streamed message's ``response_metadata["stream2llm"]`` holds timing and token counts.
        Callbacks and ``astream_events`` get a custom event ``"stream2llm.context"`` with each
        delta.

    Raises:
        PromptTemplateError: The prompt has no such variable.
        UnsupportedFeatureError: The retriever is none.
    """
    if document_variable_name not in prompt.input_variables:
        msg = (
            f"the prompt has no variable {document_variable_name!r} for the documents, only"
            f" {prompt.input_variables}; add it or give document_variable_name"
        )
        raise PromptTemplateError(msg)
    return StreamingRagChain(
        retriever=StreamingRetriever.wrap(retriever),
        prompt=prompt,
        llm=reading_live_prompts(llm),
        query=query,
        return_sources=return_sources,
        question_key=question_key,
        document_variable_name=document_variable_name,
        document_prompt=document_prompt or DEFAULT_DOCUMENT_PROMPT,
        document_separator=document_separator,
    )
