from statistics import median

from stream2llm_engine.vllm_adapter.kv_shape import KvShape
from stream2llm_rag.cli._profile._copies import time_copies
from stream2llm_rag.cli._profile._settings import ProfileSettings


def test_copies_of_every_size_are_timed() -> None:
    shape = KvShape(layers=2, layer_bytes=512, dtype="bfloat16")
    settings = ProfileSettings(blocks=(1, 64), copies=9)
    done: list[None] = []
    timings = time_copies(shape, 32, settings, lambda: done.append(None))
    assert [timing.blocks for timing in timings] == [1, 64]
    assert len(done) == 2
    for timing in timings:
        assert len(timing.out_s) == len(timing.in_s) == 9
        assert min(timing.out_s + timing.in_s) > 0
    assert median(timings[1].out_s) > median(timings[0].out_s)


def test_copies_stay_within_memory() -> None:
    shape = KvShape(layers=1, layer_bytes=2**20, dtype="bfloat16")
    settings = ProfileSettings(blocks=(1, 10_000), copies=1)
    assert [t.blocks for t in time_copies(shape, 4, settings, lambda: None)] == [1]
