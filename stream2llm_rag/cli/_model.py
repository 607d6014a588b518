"""Which model a command runs, and how it is asked."""

import logging
import os
import warnings
from typing import Any, NamedTuple

from stream2llm_rag.prompt import RagPrompt

__all__ = ["Model", "quiet_engine", "reader", "user_model"]

_READER_KV_CACHE_BYTES = 512 * 2**20
_CPU_KV_CACHE_BYTES = 2 * 2**30


class Model(NamedTuple):
    """A model with the prompt and the engine arguments that fit it."""

    name: str
    prompt: RagPrompt
    vllm: dict[str, Any]
    max_tokens: int
    is_reader: bool = False


def reader() -> Model:
    """The shipped reader, asked in the words it was trained on."""
    from stream2llm_rag.reader import QUESTION_TEMPLATE, SYSTEM_TEXT, reader_model

    return Model(
        name=str(reader_model()),
        prompt=RagPrompt(
            system=SYSTEM_TEXT,
            instructions="",
            document_template="{metadata[title]}\n{text}",
            question_template=QUESTION_TEMPLATE,
        ),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "use_tqdm_on_load": False,
            "kv_cache_memory_bytes": _READER_KV_CACHE_BYTES,
        },
        max_tokens=32,
        is_reader=True,
    )


def user_model(name: str) -> Model:
    """Any model that vLLM runs, by directory or hub id, with as much context as memory allows."""
    import torch

    # One question does not repay compiling the model.
    vllm: dict[str, Any] = {"max_model_len": -1, "enforce_eager": True}
    if not torch.cuda.is_available():
        # On the CPU vLLM would otherwise ask for nearly all of the machine's memory.
        vllm["kv_cache_memory_bytes"] = _CPU_KV_CACHE_BYTES
    prompt = RagPrompt(document_template="Source: {metadata[source]}\n{text}")
    return Model(name=name, prompt=prompt, vllm=vllm, max_tokens=256)


def quiet_engine() -> None:
    """Keeps the libraries' messages out of the output.

    Setting ``VLLM_LOGGING_LEVEL`` brings them back. To be called before either is imported.
    """
    if "VLLM_LOGGING_LEVEL" in os.environ:
        return
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
