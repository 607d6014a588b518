"""Stock vLLM in a process of its own: the one-shot answer that streaming has to equal.

Run as a script it reads one JSON request a line and writes one JSON answer a line. No scheduler of
ours, no prefix cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Reference"]

_MARK = "REFERENCE "


class Reference:
    """Answers complete prompts with unmodified vLLM.

    Args:
        model: Directory of the model, run in float32.
        max_model_len: Longest sequence in tokens.
        kv_cache_dtype: vLLM's name of the KV cache's type.
    """

    def __init__(self, model: Path, max_model_len: int, kv_cache_dtype: str = "auto") -> None:
        arguments = [str(model), str(max_model_len), kv_cache_dtype]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.reference", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
        )

    def answer(self, prompts: list[list[int]], **params: Any) -> list[dict[str, Any]]:
        """Return ``{"token_ids": …, "logprobs": …, "text": …}`` for each prompt.

        Args:
            prompts: Token ids.
            params: Fields of ``SamplingParams``.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "params": params}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_MARK):
                answers: list[dict[str, Any]] = json.loads(line.removeprefix(_MARK))
                return answers
        msg = f"the reference process ended with {self._process.wait()}"
        raise RuntimeError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _serve(model: str, max_model_len: int, kv_cache_dtype: str) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams

    llm = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=max_model_len,
        kv_cache_memory_bytes=64 * 2**20,
        max_num_batched_tokens=2048,
        kv_cache_dtype=kv_cache_dtype,
    )
    for line in sys.stdin:
        request = json.loads(line)
        params = request["params"]
        if "logit_bias" in params:  # JSON has no integer keys
            params["logit_bias"] = {int(k): v for k, v in params["logit_bias"].items()}
        outputs = llm.generate(
            [{"prompt_token_ids": prompt} for prompt in request["prompts"]],
            SamplingParams(**params),
            use_tqdm=False,
        )
        answers = [
            {
                "token_ids": list(completion.token_ids),
                "logprobs": [
                    entry[token].logprob
                    for entry, token in zip(
                        completion.logprobs or [], completion.token_ids, strict=False
                    )
                ],
                "text": completion.text,
            }
            for completion in (output.outputs[0] for output in outputs)
        ]
        sys.stdout.write(_MARK + json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
