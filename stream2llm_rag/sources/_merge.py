"""Several sources as one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from stream2llm_rag.events import Append, Update
from stream2llm_rag.sources._change import event_between
from stream2llm_rag.sources._merged_lists import MergedLists
from stream2llm_rag.sources._protocol import ContextSource
from stream2llm_rag.sources._pump import Pump

__all__ = ["Slot", "merge"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """The place of one source among several.

    Attributes:
        source: The source.
        priority: Documents of sources with a higher priority rank in front, whenever they come.
        limit: How many documents of the source count, the best ranked first; None: all.
    """

    source: ContextSource
    _: KW_ONLY
    priority: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            msg = f"limit must be at least 1 or None, got {self.limit}"
            raise ValueError(msg)


def merge(
    *sources: ContextSource | Slot, on_error: Literal["skip", "fail"] = "skip"
) -> ContextSource:
    """Runs sources side by side and passes on what they find as it arrives.

    Documents rank by the priority of their source and, within one priority, in arrival order. An
    ``Update`` of one source retracts documents of that source only: the documents of its priority
    are ranked anew then, source behind source, those that delivered first in front. Sources of
    different priorities so lead to the same final context whatever order they arrive in.

    While the merged events are not consumed, each source's events are coalesced, see ``coalesce``.

    Args:
        *sources: At least one, each plain or in a ``Slot``.
        on_error: ``"skip"`` logs a warning, keeps what the failed source delivered and goes on with
            the others; only if all fail does the merge fail. ``"fail"`` stops all when one fails.

    Raises:
        ValueError: There is no source.
    """
    if not sources:
        msg = "merge() takes at least one source"
        raise ValueError(msg)
    slots = [source if isinstance(source, Slot) else Slot(source) for source in sources]
    return _Merged(slots, skip_errors=on_error == "skip")


class _Merged:
    def __init__(self, slots: list[Slot], *, skip_errors: bool) -> None:
        self._slots = slots
        self._skip_errors = skip_errors

    async def stream(self, query: str) -> AsyncIterator[Append | Update]:
        ready: asyncio.Queue[Pump] = asyncio.Queue()
        pumps = [Pump(slot.source, query, ready) for slot in self._slots]
        lists = MergedLists(
            [slot.priority for slot in self._slots], [slot.limit for slot in self._slots]
        )
        ended: list[Pump] = []
        try:
            while len(ended) < len(pumps):
                pump = await ready.get()
                event = pump.take()
                if event is None:
                    ended.append(pump)
                    self._check(pump, last=all(pump.error for pump in pumps))
                    continue
                before = lists.documents
                lists.apply(pumps.index(pump), event)
                if (change := event_between(before, lists.documents)) is not None:
                    yield change
        finally:
            await asyncio.gather(*(pump.stop() for pump in pumps))

    def _check(self, pump: Pump, *, last: bool) -> None:
        if pump.error is None:
            return
        if last or not self._skip_errors:
            raise pump.error
        _logger.warning("context source %r failed and is skipped: %r", pump.source, pump.error)

    def __repr__(self) -> str:
        return f"merge({', '.join(repr(slot.source) for slot in self._slots)})"
