"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun  # noqa: TC002 - read at runtime
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


class FactsRetriever(BaseRetriever):
    """What the reader of the README already has."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
    ) -> list[Document]:
        return [
            Document("The river of Quen is Tessin. The capital of Quen is Dorvale.\n"),
            Document("The capital of Zorland is Mirapol. The river of Zorland is Bessel.\n"),
        ]


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"my_retriever": FactsRetriever()}
    yield names
    if "llm" in names:
        names["llm"].close()


@pytest.mark.engine
def test_the_langchain_example(
    namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = (text for text in EXAMPLES if "create_streaming_rag_chain" in text)
    assert len(example.strip().splitlines()) == 10
    exec(compile(example, "README.md", "exec"), namespace)
    assert "Mirapol" in capsys.readouterr().out


def test_the_engine_example_uses_names_that_exist() -> None:
    import stream2llm_engine
    from stream2llm_engine import StreamSession

    (example,) = (text for text in EXAMPLES if "StreamEngine(" in text)
    for name in ("StreamEngine", "EngineConfig", "SamplingParams"):
        assert name in example
        assert hasattr(stream2llm_engine, name)
    for method in re.findall(r"session\.(\w+)\(", example):
        assert callable(getattr(StreamSession, method))


def test_the_llama_index_example_uses_names_that_exist() -> None:
    (example,) = (text for text in EXAMPLES if "llama_index" in text)
    (line,) = (line for line in example.splitlines() if line.startswith("from "))
    names: dict[str, Any] = {}
    exec(line, names)
    assert callable(names["as_streaming_query_engine"])


def test_every_make_target_it_names_exists() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
