"""The examples as programs."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the example prints when it runs as it stands."""
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out
