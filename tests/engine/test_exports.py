"""What the package exports is what it says, and importing it stays cheap."""

from __future__ import annotations

import subprocess
import sys

import stream2llm_engine


def test_every_exported_name_exists() -> None:
    for name in stream2llm_engine.__all__:
        assert getattr(stream2llm_engine, name) is not None


def test_import_loads_neither_torch_nor_vllm() -> None:
    script = (
        "import sys, stream2llm_engine; stream2llm_engine.StreamEngine;"
        "print([m for m in ('torch', 'vllm', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_error_is_ours() -> None:
    from stream2llm_engine import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.Stream2LLMError)
