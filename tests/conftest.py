"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.models import save_random_llama

if TYPE_CHECKING:
    from pathlib import Path

# Set before anything imports vLLM or transformers: tests never look for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random float32 Llama (2 layers, about 400 tokens) with a chat template."""
    return save_random_llama(tmp_path_factory.mktemp("tiny-llama"))
