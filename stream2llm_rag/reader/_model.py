"""Where the shipped model is."""

from __future__ import annotations

from pathlib import Path


def reader_model() -> Path:
    """Returns the directory of the shipped model, to be given to vLLM or Transformers as it is."""
    return Path(__file__).parent / "model"
