"""Which model is profiled."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stream2llm_rag.cli.errors import CommandError
from stream2llm_rag.random_llama import RANDOM_LLAMAS, random_llama_arguments, save_random_llama

__all__ = ["Target", "check_target", "target"]


class Target(NamedTuple):
    """A model: what vLLM is given, and what it is called in the profile."""

    path: str
    label: str
    vllm: dict[str, Any]


def check_target(model: str | None, random_llama: str | None) -> None:
    """Says what is wrong with the choice of a model, before any work is done.

    Raises:
        CommandError: There is none, there are two, or it is not there.
    """
    if (model is None) == (random_llama is None):
        msg = "give either --model or --random-llama"
        raise CommandError(msg)
    if random_llama is not None and random_llama not in RANDOM_LLAMAS:
        msg = f"--random-llama does not know {random_llama!r}: {', '.join(RANDOM_LLAMAS)}"
        raise CommandError(msg)
    if model is not None and _is_path(model) and not Path(model, "config.json").is_file():
        msg = f"there is no model in {model}: give a directory with a config.json, or a hub id"
        raise CommandError(msg)


@contextmanager
def target(model: str | None, random_llama: str | None) -> Iterator[Target]:
    """The model, on disk as long as the block runs."""
    if model is not None:
        yield Target(model, Path(model).name if _is_path(model) else model, {})
        return
    assert random_llama is not None
    with tempfile.TemporaryDirectory(prefix="stream2llm-") as directory:
        label = save_random_llama(random_llama, Path(directory))
        yield Target(directory, label, random_llama_arguments(random_llama))


def _is_path(model: str) -> bool:
    # A hub id has at most one slash and does not start with one.
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1
