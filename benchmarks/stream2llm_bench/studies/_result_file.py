"""The file that a study leaves its figures in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream2llm_bench.environment import command_line, environment

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

__all__ = ["add_json_option", "write_figures"]


def add_json_option(parser: ArgumentParser) -> None:
    """Give a study's command the option that names the file."""
    parser.add_argument("--json", type=Path, help="where the figures go")


def write_figures(path: Path | None, study: str, figures: Mapping[str, Any]) -> None:
    """Write figures with the command and the machine that they are from.

    Args:
        path: The file; ``None``: nobody wants one.
        study: Name of the study's module.
        figures: What was measured.
    """
    if path is None:
        return
    module = f"{__package__}.{study}"
    report = {**figures, "command": command_line(module), "environment": environment()}
    path.write_text(json.dumps(report, indent=1) + "\n")
