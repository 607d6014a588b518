import subprocess
import sys

import stream2llm_rag


def test_all_is_what_is_there() -> None:
    assert all(hasattr(stream2llm_rag, name) for name in stream2llm_rag.__all__)
    assert sorted(stream2llm_rag.__all__) == sorted(set(stream2llm_rag.__all__))


def test_importing_is_cheap() -> None:
    heavy = (
        "torch",
        "vllm",
        "transformers",
        "qdrant_client",
        "matplotlib",
        "httpx2",
        "trafilatura",
    )
    code = f"import stream2llm_rag, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
