"""The package beside the namespace it lives in."""

import zipfile
from pathlib import Path

import llama_index.core
from hatchling.builders.wheel import WheelBuilder

import llama_index
from llama_index.llms import stream2llm

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "integrations" / "llama_index"


def test_every_public_name_is_there_and_documented() -> None:
    for name in stream2llm.__all__:
        assert getattr(stream2llm, name).__doc__, name
    assert sorted(stream2llm.__all__) == [
        "ContextAppendEvent",
        "ContextUpdateEvent",
        "NodeUpdate",
        "Stream2LLM",
        "StreamingContextChatEngine",
        "StreamingQueryEngine",
        "StreamingRetriever",
        "as_streaming_chat_engine",
        "as_streaming_query_engine",
    ]


def test_the_namespace_is_shared_with_llama_index() -> None:
    assert str(SOURCES) in list(llama_index.__path__)
    assert not Path(llama_index.core.__file__ or "").is_relative_to(ROOT / "integrations")
    # A package file above the leaf would hide everybody else's packages, or LlamaIndex itself.
    leaf = SOURCES / "llms" / "stream2llm"
    assert [path for path in SOURCES.rglob("*.py") if not path.is_relative_to(leaf)] == []
    assert list(SOURCES.rglob("py.typed")) == [leaf / "py.typed"]


def test_the_wheel_carries_the_leaf_only(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = [n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("llama_index/")]
    assert "llama_index/llms/stream2llm/query_engine.py" in names
    assert "llama_index/llms/stream2llm/py.typed" in names
    assert all(name.startswith("llama_index/llms/stream2llm/") for name in names)
