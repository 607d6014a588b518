"""KV blocks survive the way to host memory and back, in every layout that is not refused."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream2llm_engine import UnsupportedFeatureError
from stream2llm_engine.vllm_adapter import block_copies
from stream2llm_engine.vllm_adapter.block_copies import BlockCopier, CopyIn
from stream2llm_engine.vllm_adapter.block_layout import block_matrices
from stream2llm_engine.vllm_adapter.block_runs import block_runs
from stream2llm_engine.vllm_adapter.host_pool import HostPool

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = 200
HOST_BLOCKS = 150
BLOCK_SHAPE = (2, 4, 6)


def blocks_first(dtype: Any = torch.bfloat16) -> Any:
    return torch.randn(BLOCKS, *BLOCK_SHAPE).to(dtype)


def keys_and_values_first() -> Any:
    return torch.randn(2, BLOCKS, *BLOCK_SHAPE)


def heads_before_slots() -> Any:
    # What a GPU backend calls HND: the memory order of a block is not that of its dimensions.
    return torch.randn(BLOCKS, 2, 6, 4).permute(0, 1, 3, 2)


def interleaved_layers() -> Any:
    # Blocks of one layer with those of others between them.
    return torch.randn(BLOCKS, 3, *BLOCK_SHAPE)[:, 1]


LAYOUTS = [blocks_first, keys_and_values_first, heads_before_slots, interleaved_layers]


class InlineStreams:
    """Stands in for streams: everything runs at once, the event is what the test makes of it."""

    def __init__(self) -> None:
        self.event = Event()
        self.waits = 0

    @contextmanager
    def beside(self) -> Iterator[Event]:
        yield self.event

    def synchronize(self) -> None:
        self.waits += 1


class Event:
    def __init__(self) -> None:
        self.reached = False

    def query(self) -> bool:
        return self.reached


def block(cache: Any, index: int) -> Any:
    return cache[index] if cache.shape[0] == BLOCKS else cache[:, index]


def queued(copier: BlockCopier) -> InlineStreams:
    """Make the copier take the way of a GPU, on tensors of the CPU."""
    streams = InlineStreams()
    direct: Any = copier._copies
    matrices = [torch.from_numpy(cache) for cache in direct._caches]
    copier._copies = block_copies._QueuedCopies(matrices, copier._pool, streams)  # type: ignore[arg-type]
    return streams


@pytest.mark.parametrize("way", ["direct", "queued"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scattered", [False, True])
def test_round_trip(layout: Any, way: str, *, scattered: bool) -> None:
    caches = {"a": layout(), "b": layout()}
    before = {name: cache.clone() for name, cache in caches.items()}
    copier = BlockCopier(caches, BLOCKS, HOST_BLOCKS)
    if way == "queued":
        queued(copier)
    draw = random.Random(3)
    count = 100
    device = draw.sample(range(BLOCKS), count) if scattered else list(range(7, 7 + count))
    host = draw.sample(range(HOST_BLOCKS), count) if scattered else list(range(20, 20 + count))
    back = draw.sample(range(BLOCKS), count) if scattered else list(range(100, 100 + count))

    copier.copy_out(device, host)
    for cache in caches.values():
        cache.fill_(0)
    copier.start_copy_in(host, back)

    for name, cache in caches.items():
        for old, new in zip(device, back, strict=True):
            assert torch.equal(block(cache, new), block(before[name], old))
        for index in set(range(BLOCKS)) - set(back):
            assert not block(cache, index).any()
    copier.close()


def test_a_copy_between_host_memories_is_done_at_once() -> None:
    copier = BlockCopier({"a": blocks_first()}, BLOCKS, HOST_BLOCKS)
    copier.copy_out([1], [0])
    assert copier.start_copy_in([0], [2]).done()
    assert copier.start_copy_in([], []).done()


def test_a_queued_copy_is_done_when_its_event_is_reached() -> None:
    copier = BlockCopier({"a": blocks_first()}, BLOCKS, HOST_BLOCKS)
    streams = queued(copier)
    copier.copy_out([1], [0])
    copy: CopyIn = copier.start_copy_in([0], [2])
    assert not copy.done()
    streams.event.reached = True
    assert copy.done()
    copier.close()
    assert streams.waits == 1


def test_devices_choose_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(
        BlockCopier({"a": blocks_first()}, BLOCKS, 1)._copies, block_copies._DirectCopies
    )
    streams = InlineStreams()
    monkeypatch.setattr(block_copies, "_CudaStreams", lambda device: streams)
    made = []
    for kind in ("cuda", "xpu"):
        matrix = torch.empty(BLOCKS, 8, dtype=torch.uint8, device="meta")
        matrix = _OnDevice(matrix, torch.device(kind))
        monkeypatch.setattr(block_copies, "block_matrices", lambda caches, blocks, m=matrix: [m])
        if kind == "cuda":
            made.append(BlockCopier({}, BLOCKS, 1))
        else:
            with pytest.raises(UnsupportedFeatureError, match="xpu"):
                BlockCopier({}, BLOCKS, 1)
    (copier,) = made
    assert isinstance(copier._copies, block_copies._QueuedCopies)
    assert copier._pool._pinned


class _OnDevice:
    """A tensor that says it is elsewhere."""

    def __init__(self, tensor: Any, device: Any) -> None:
        self.shape = tensor.shape
        self.device = device


def test_layers_that_share_memory_are_copied_once() -> None:
    cache = blocks_first()
    copier = BlockCopier({"a": cache, "b": cache, "c": blocks_first()}, BLOCKS, HOST_BLOCKS)
    assert copier.bytes_per_block == 2 * 2 * 4 * 6 * 2


def test_the_two_sides_of_a_block_count_as_one_block() -> None:
    copier = BlockCopier({"a": keys_and_values_first()}, BLOCKS, HOST_BLOCKS)
    assert copier.bytes_per_block == 2 * 2 * 4 * 6 * 4


@pytest.mark.parametrize(
    ("caches", "why"),
    [
        ({"a": torch.zeros(3, BLOCKS, 4)}, "dimension"),
        ({"a": torch.zeros(BLOCKS + 1, 4)}, "dimension"),
        ({"a": torch.zeros(4, 2, BLOCKS)}, "dimension"),
        ({"a": torch.zeros(BLOCKS)[:0]}, "content"),
        ({"a": [torch.zeros(BLOCKS, 2)]}, "content"),
        ({"a": torch.zeros(BLOCKS, 4, 8)[:, :, :4]}, "gaps"),
        ({"a": torch.zeros(1, 8).expand(BLOCKS, 8)}, "overlap"),
    ],
)
def test_other_layouts_are_refused(caches: dict[str, Any], why: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match=why):
        BlockCopier(caches, BLOCKS, HOST_BLOCKS)


def test_two_blocks_of_keys_and_values_are_ambiguous() -> None:
    with pytest.raises(UnsupportedFeatureError, match="does not say"):
        block_matrices({"a": torch.zeros(2, 2, 4)}, 2)


def test_shared_memory_of_two_shapes_is_refused() -> None:
    memory = torch.zeros(BLOCKS, 8)
    with pytest.raises(UnsupportedFeatureError, match="another shape"):
        BlockCopier({"a": memory, "b": memory[:, :4]}, BLOCKS, HOST_BLOCKS)


def test_host_memory_grows_by_segments() -> None:
    copier = BlockCopier({"a": blocks_first(), "b": keys_and_values_first()}, BLOCKS, HOST_BLOCKS)
    assert copier.host_bytes == 0
    copier.copy_out([5], [1])
    assert copier.host_bytes == 64 * copier.bytes_per_block
    copier.copy_out([5, 6], [2, 63])
    assert copier.host_bytes == 64 * copier.bytes_per_block
    copier.copy_out([5], [HOST_BLOCKS - 1])
    # The last segment is cut to the bound.
    assert copier.host_bytes == (64 + HOST_BLOCKS - 128) * copier.bytes_per_block
    copier.close()
    assert copier.host_bytes == 0


def test_no_memory_leaves_earlier_blocks_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = blocks_first()
    copier = BlockCopier({"a": cache}, BLOCKS, HOST_BLOCKS)
    kept = cache[9].clone()
    copier.copy_out([9], [3])
    bytes_before = copier.host_bytes

    def refuse(self: HostPool, segment: int) -> Any:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(HostPool, "_allocate", refuse)
        with pytest.raises(MemoryError, match="no memory"):
            copier.copy_out([10, 11], [4, 70])
    assert copier.host_bytes == bytes_before

    copier.start_copy_in([3], [0])
    assert torch.equal(cache[0], kept)
    copier.copy_out([10, 11], [4, 70])
    copier.start_copy_in([70], [1])
    assert torch.equal(cache[1], cache[11])


@pytest.mark.parametrize("pinned", [False, True])
def test_memory_that_cannot_be_had_is_an_error(
    monkeypatch: pytest.MonkeyPatch, *, pinned: bool
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("cannot pin")

    monkeypatch.setattr(torch, "empty", refuse)
    pool = HostPool([2**50], 64, pinned=pinned)
    with pytest.raises(MemoryError):
        pool.reserve([0])
    assert pool.allocated_bytes == 0


@pytest.mark.parametrize(
    ("device", "host"), [([BLOCKS], [0]), ([-1], [0]), ([0], [HOST_BLOCKS]), ([0, 1], [0])]
)
def test_ids_out_of_range_are_refused(device: list[int], host: list[int]) -> None:
    copier = BlockCopier({"a": blocks_first()}, BLOCKS, HOST_BLOCKS)
    with pytest.raises(ValueError, match="block"):
        copier.copy_out(device, host)
    with pytest.raises(ValueError, match="block"):
        copier.start_copy_in(host, device)


def test_a_segment_that_was_never_filled_cannot_be_read() -> None:
    copier = BlockCopier({"a": blocks_first()}, BLOCKS, HOST_BLOCKS)
    with pytest.raises(LookupError, match="copy blocks out"):
        copier.start_copy_in([0], [0])


def test_runs_end_with_segments_and_gaps() -> None:
    size = HostPool.SEGMENT_BLOCKS
    host = [size + 1, size - 1, size, 5, 6]
    device = [12, 10, 11, 1, 7]
    loose = list(block_runs(host, device))
    assert [(run.segment, run.start, run.device_ids, run.is_dense) for run in loose] == [
        (0, 5, [1, 7], False),
        (0, size - 1, [10], True),
        (1, 0, [11, 12], True),
    ]
    assert [run.device_ids for run in block_runs(host, device, dense_only=True)] == [
        [1],
        [7],
        [10],
        [11, 12],
    ]


SMALL_BLOCKS, SMALL_HOST = 12, 70
pairs = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(0, SMALL_BLOCKS - 1), min_size=count, max_size=count, unique=True),
        # Both sides of the border between two segments.
        st.lists(st.integers(58, SMALL_HOST - 1), min_size=count, max_size=count, unique=True),
    )
)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["out", "in"]), pairs), max_size=12),
    way=st.sampled_from(["direct", "queued"]),
)
def test_any_order_of_copies_agrees_with_a_model(
    steps: list[tuple[str, tuple[list[int], list[int]]]], way: str
) -> None:
    plain = torch.arange(SMALL_BLOCKS).repeat_interleave(6).view(SMALL_BLOCKS, 6).clone()
    split = torch.stack([plain.float(), -plain.float()])
    copier = BlockCopier({"plain": plain, "split": split}, SMALL_BLOCKS, SMALL_HOST)
    if way == "queued":
        queued(copier)
    on_device = list(range(SMALL_BLOCKS))
    on_host: dict[int, int] = {}
    for kind, (device, host) in steps:
        if kind == "out":
            copier.copy_out(device, host)
            on_host.update({h: on_device[d] for d, h in zip(device, host, strict=True)})
        else:
            known = [(h, d) for d, h in zip(device, host, strict=True) if h in on_host]
            copier.start_copy_in([h for h, _ in known], [d for _, d in known])
            for h, d in known:
                on_device[d] = on_host[h]
    expected = torch.tensor(on_device).unsqueeze(1).expand(SMALL_BLOCKS, 6)
    assert torch.equal(plain, expected)
    assert torch.equal(split, torch.stack([expected.float(), -expected.float()]))
