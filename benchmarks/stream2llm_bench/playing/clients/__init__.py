"""The systems that are compared, behind one interface."""

from stream2llm_bench.playing.clients._base import Client, EngineSize, QueryTimes, UnansweredError
from stream2llm_bench.playing.clients._stock import StockClient
from stream2llm_bench.playing.clients._stream import StreamClient

__all__ = [
    "Client",
    "EngineSize",
    "QueryTimes",
    "StockClient",
    "StreamClient",
    "UnansweredError",
]
