"""Stock vLLM's ``LLMEngine`` in a thread of this process.

On CPU ``AsyncLLM`` runs three processes; its worker leaves a core to the others, one of which spins
while it waits: on two cores it computes half as fast. Here stock vLLM gets all cores, as our engine
does, so that what is compared is scheduling.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["InProcessVllm"]


class InProcessVllm:
    """The part of ``AsyncLLM``'s interface that the benchmark uses.

    Args:
        arguments: vLLM's ``EngineArgs``.

    Attributes:
        busy_s: Seconds spent in steps since the start.
    """

    def __init__(self, arguments: Any) -> None:
        self.busy_s = 0.0
        self._arguments = arguments
        self._inbox: queue.Queue[Callable[[Any], None] | None] = queue.Queue()
        self._readers: dict[str, Callable[[Any], object]] = {}
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="stock-vllm", daemon=True)
        self._thread.start()
        self._started.result()

    async def generate(self, prompt: Any, params: Any, request_id: str) -> AsyncIterator[Any]:
        """Yield vLLM's outputs; closing the iterator early aborts the request."""
        loop = asyncio.get_running_loop()
        outputs: asyncio.Queue[Any] = asyncio.Queue()

        def add(engine: Any) -> None:
            self._readers[request_id] = lambda out: loop.call_soon_threadsafe(
                outputs.put_nowait, out
            )
            engine.add_request(request_id, prompt, params)

        def abort(engine: Any) -> None:
            if self._readers.pop(request_id, None) is not None:
                engine.abort_request([request_id])

        self._inbox.put(add)
        try:
            while True:
                out = await outputs.get()
                yield out
                if out.finished:
                    return
        finally:
            self._inbox.put(abort)

    async def reset_prefix_cache(self) -> None:
        """Forget every cached prefix."""
        done: Future[None] = Future()

        def reset(engine: Any) -> None:
            engine.reset_prefix_cache()
            done.set_result(None)

        self._inbox.put(reset)
        await asyncio.wrap_future(done)

    def shutdown(self) -> None:
        """Stop the engine."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        from vllm.v1.engine.llm_engine import LLMEngine

        # Read by vLLM when it builds the engine; nothing else runs in this process.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            engine = LLMEngine.from_engine_args(self._arguments)
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts the engine
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        while self._take_calls(engine):
            if engine.has_unfinished_requests():
                began_s = time.perf_counter()
                outputs = engine.step()
                self.busy_s += time.perf_counter() - began_s
                for out in outputs:
                    if (reader := self._readers.get(out.request_id)) is not None:
                        reader(out)
                    if out.finished:
                        self._readers.pop(out.request_id, None)
        engine.engine_core.shutdown()

    def _take_calls(self, engine: Any) -> bool:
        """Run what was asked for; wait for something if there is no work. False means stop."""
        wait = not engine.has_unfinished_requests()
        try:
            while True:
                call = self._inbox.get(block=wait)
                if call is None:
                    return False
                call(engine)
                wait = False
        except queue.Empty:
            return True
