from __future__ import annotations

import asyncio
import threading

from stream2llm_engine.channel import OutputChannel, wake


async def test_items_come_in_order_across_threads() -> None:
    channel = OutputChannel()

    def produce() -> None:
        for number in range(1000):
            channel.put(number)

    producer = threading.Thread(target=produce)
    producer.start()
    assert [await asyncio.wait_for(channel.get(), 5) for _ in range(1000)] == list(range(1000))
    producer.join()


async def test_an_error_is_not_a_first_output() -> None:
    channel = OutputChannel()
    channel.put(ValueError("x"))
    assert channel.first_output_s is None
    channel.put("token")
    assert channel.first_output_s is not None


def test_waking_a_closed_loop_is_harmless() -> None:
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.close()
    wake(loop, future)
    assert not future.done()
