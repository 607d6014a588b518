"""The documentation site builds without a warning, and its reference is complete."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = {
    path.stem: module
    for path in sorted((DOCS / "api").glob("*.md"))
    for module in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; warnings, broken links and anchors are errors."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return directory


@pytest.mark.parametrize("page", REFERENCE)
def test_the_reference_has_every_public_class_and_function(site: Path, page: str) -> None:
    html = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
    module = importlib.import_module(REFERENCE[page])
    ours = [name for name in module.__all__ if _is_ours(getattr(module, name))]
    missing = [name for name in ours if f'id="{REFERENCE[page]}.{name}"' not in html]
    assert ours
    assert missing == []


def test_the_reference_reads_as_text(site: Path) -> None:
    for path in (site / "api").glob("*.html"):
        assert not re.search(r":(?:class|func|meth|mod|attr):", path.read_text(encoding="utf-8"))


def test_every_package_has_a_page() -> None:
    assert {
        "langchain_stream2llm",
        "llama_index.llms.stream2llm",
        "qdrant_stream2llm",
        "stream2llm_engine",
        "stream2llm_profiles",
        "stream2llm_rag",
    } <= {*REFERENCE.values()}


def test_diagrams_are_drawn(site: Path) -> None:
    assert '<pre class="mermaid">' in (site / "concepts" / "sessions.html").read_text("utf-8")


def _is_ours(value: Any) -> bool:
    """Whether it is a class or function, and not one of vLLM's."""
    is_documented = inspect.isclass(value) or inspect.isfunction(value)
    return is_documented and not value.__module__.startswith("vllm.")
