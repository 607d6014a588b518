"""Stock vLLM, in the three ways in which it can be used for contexts that arrive in parts."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Literal

from stream2llm_bench.playing.clients._base import Client, QueryTimes, UnansweredError, sleep_until
from stream2llm_bench.playing.clients._in_process import InProcessVllm
from stream2llm_engine import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream2llm_bench.playing.clients._base import EngineSize
    from stream2llm_engine.simulator import SimulatedQuery

__all__ = ["StockClient"]

StockMode = Literal["blocking", "warmup", "streaming_input"]


class StockClient(Client):
    """Stock vLLM, with no line of ours in the engine.

    ``"blocking"`` waits for the whole context. ``"warmup"`` sends the growing prompt for one token,
    so that the prefix cache holds it: one such request at a time, the newest prompt next, and the
    one in flight is aborted when the context is final. ``"streaming_input"`` is vLLM's own session
    of ``StreamingInput``, for contexts that are only appended to.

    Args:
        engine: A running ``AsyncLLM``, or what has its interface.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._count = 0
        self.mode: StockMode = "blocking"

    @classmethod
    async def start(cls, size: EngineSize, *, in_process: bool) -> StockClient:
        """Start vLLM with its defaults but for what all systems share.

        Args:
            size: That.
            in_process: Run it in this process; ``StreamingInput`` needs ``AsyncLLM``, which runs
                processes of its own.
        """
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = AsyncEngineArgs(
            model=size.model, disable_log_stats=True, **size.vllm_arguments()
        )
        if in_process:
            return cls(await asyncio.to_thread(InProcessVllm, arguments))
        # By default its worker leaves one core to the other processes.
        os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
        return cls(AsyncLLM.from_engine_args(arguments))

    async def answer(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        """Play one query in the current mode; see :meth:`Client.answer`."""
        if self.mode == "streaming_input":
            return await self._answer_inputs(query, started_s)
        if self.mode == "warmup":
            return await self._answer_warm(query, started_s)
        due_s = started_s + query.final_s
        await sleep_until(due_s)
        times = QueryTimes(due_s=due_s)
        await self._finish(query, query.final_prompt(), times)
        return times

    async def forget(self) -> None:
        """Empty the prefix cache."""
        await self._engine.reset_prefix_cache()

    async def counters(self) -> dict[str, Any]:
        """Return the seconds in which vLLM computed, where it runs in this process."""
        if isinstance(self._engine, InProcessVllm):
            return {"busy_s": self._engine.busy_s}
        return {}

    async def close(self) -> None:
        """Stop the engine."""
        self._engine.shutdown()

    # -- one way after the other -----------------------------------------------------------------

    async def _answer_warm(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        due_s = started_s + query.arrival_s
        prompts: asyncio.Queue[list[int]] = asyncio.Queue()
        computed: list[int] = []
        warming = asyncio.create_task(self._keep_warm(prompts, computed))
        prompt: list[int] = []
        try:
            for event in query.events:
                due_s += event.delay_s
                await sleep_until(due_s)
                prompt = list(event.token_ids) if event.replace else prompt + event.token_ids
                if event is not query.events[-1]:
                    prompts.put_nowait(prompt)
        finally:
            warming.cancel()
        times = QueryTimes(due_s=due_s)
        await self._finish(query, prompt + query.question, times)
        if times.computed_tokens is not None:
            times.computed_tokens += sum(computed)
        return times

    async def _keep_warm(self, prompts: asyncio.Queue[list[int]], computed: list[int]) -> None:
        while True:
            prompt = await prompts.get()
            while not prompts.empty():
                prompt = prompts.get_nowait()
            cached = 0
            async for out in self._generate(prompt, 1):
                cached = out.num_cached_tokens or 0
            computed.append(len(prompt) - cached)

    async def _finish(self, query: SimulatedQuery, prompt: list[int], times: QueryTimes) -> None:
        async for out in self._generate(prompt, query.output_tokens):
            times.token_s += [time.perf_counter()] * len(out.outputs[0].token_ids)
            times.computed_tokens = len(prompt) - (out.num_cached_tokens or 0)
        if len(times.token_s) < query.output_tokens:
            raise UnansweredError(query.query_id)

    async def _answer_inputs(self, query: SimulatedQuery, started_s: float) -> QueryTimes:
        if any(event.replace for event in query.events):
            msg = "StreamingInput cannot take a changed prompt"
            raise UnansweredError(msg)
        times = QueryTimes(due_s=started_s + query.final_s)
        sent = 0

        async def inputs() -> AsyncIterator[Any]:
            nonlocal sent
            from vllm.engine.protocol import StreamingInput

            due_s = started_s + query.arrival_s
            for event in query.events:
                due_s += event.delay_s
                await sleep_until(due_s)
                last = event is query.events[-1]
                tokens = event.token_ids + (query.question if last else [])
                if tokens:
                    sent += 1
                    yield StreamingInput(
                        prompt={"prompt_token_ids": tokens},
                        sampling_params=_params(query.output_tokens if last else 1),
                    )

        arrived: list[float] = []
        async for out in self._generate(inputs(), query.output_tokens):
            arrived += [time.perf_counter()] * len(out.outputs[0].token_ids)
        # Every part before the last one is answered with a token that nobody reads.
        times.token_s = arrived[sent - 1 :]
        if len(times.token_s) < query.output_tokens:
            raise UnansweredError(query.query_id)
        return times

    def _generate(self, prompt: Any, max_tokens: int) -> AsyncIterator[Any]:
        self._count += 1
        if isinstance(prompt, list):
            prompt = {"prompt_token_ids": list(prompt)}
        outputs: AsyncIterator[Any] = self._engine.generate(
            prompt, _params(max_tokens), f"request-{self._count}"
        )
        return outputs


def _params(max_tokens: int) -> Any:
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=max_tokens,
        temperature=0,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
