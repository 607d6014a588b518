"""The end of the app. It ends the server of the other tests, so its file comes last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream2llm_engine import StreamEngine

if TYPE_CHECKING:
    from tests.examples.fastapi_app.served import Gated, Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


async def test_the_engine_ends_with_the_server_whoever_listens(
    served: Served, gated: Gated
) -> None:
    async with served.asked() as events:
        await anext(events)
        served.stop()
    assert gated.ended.is_set()
    assert StreamEngine._running is None
