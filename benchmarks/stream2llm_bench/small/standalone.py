"""A measurement as a program: ``python -m stream2llm_bench.small.micro [--quick]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream2llm_rag.random_llama import save_random_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

__all__ = ["standalone"]


def standalone(measure: Callable[..., Sequence[BaseModel]], **options: Any) -> None:
    """Measure with a random model and write one JSON object a line, progress to stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        save_random_llama("30m", Path(folder))
        for result in measure(Path(folder), quick=quick, on_progress=_say, **options):
            sys.stdout.write(result.model_dump_json() + "\n")


def _say(what: str) -> None:
    sys.stderr.write(what + "\n")
