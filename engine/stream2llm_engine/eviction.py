"""Whose tail blocks make room, free of vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable, Sequence

__all__ = ["EvictionSearch", "VictimLedger"]


class VictimLedger(Protocol):
    """What the search asks about holders of KV blocks. No call changes anything."""

    @property
    def can_cut(self) -> bool:
        """Whether a victim can give up its tail alone; otherwise it gives up everything."""
        ...

    def victims(self) -> Sequence[str]:
        """Return everybody who holds blocks, the cheapest to take them from first."""
        ...

    def may_evict(self, request_id: str) -> bool:
        """Return whether the request may take blocks from others at all."""
        ...

    def may_take_from(self, request_id: str, victim_id: str) -> bool:
        """Return whether the first request may take blocks from the second.

        Of the same kind of taker, who ranks lower may take from no more requests.
        """
        ...

    def kind_of_taker(self, request_id: str) -> Hashable:
        """Return with whom the request can be compared in what it may take."""
        ...

    def tail_blocks(self, request_id: str) -> Iterable[tuple[int, int]]:
        """Return ``(block id, number of holders)`` of what the request holds, tail first."""
        ...


class EvictionSearch:
    """Collects victims while a plan is made, for requests in rank order.

    Attributes:
        evictions: How many tail blocks each victim gives up.
        found: Blocks that become free by them.
        released: Ids of those blocks, less the ones that a granted request shares again.
    """

    def __init__(self, ledger: VictimLedger) -> None:
        self._ledger = ledger
        self._victims: Sequence[str] | None = None
        # Holders that the victims take off each block, shared blocks included.
        self._let_go: dict[int, int] = {}
        self._claimed: set[int] = set()
        # What a request found where it was too little: its like that rank lower find no more.
        self._findable: dict[Hashable, int] = {}
        self.evictions: dict[str, int] = {}
        self.found = 0
        self.released: set[int] = set()

    def claim(self, hits: Iterable[int]) -> None:
        """Note that a granted request is going to share these blocks."""
        self._claimed.update(hits)
        self.released.difference_update(hits)

    def find(self, request_id: str, lacking: int, granted: Container[str]) -> bool:
        """Choose victims that give up ``lacking`` blocks more; choose none if they have too few.

        Args:
            request_id: Who needs the blocks.
            lacking: How many.
            granted: Who is part of the step and keeps its blocks.
        """
        ledger = self._ledger
        kind = ledger.kind_of_taker(request_id)
        if lacking > self._findable.get(kind, lacking):
            return False
        if not ledger.may_evict(request_id):
            return False
        if self._victims is None:
            self._victims = ledger.victims()
        chosen: dict[str, int] = {}
        let_go: list[int] = []
        released: set[int] = set()
        for victim in self._victims:
            if len(released) >= lacking:
                break
            if victim == request_id or victim in granted:
                continue
            if ledger.may_take_from(request_id, victim):
                self._take_tail(victim, lacking, chosen, let_go, released)
        if len(released) < lacking:
            self._findable[kind] = len(released)
            for block in let_go:
                self._let_go[block] -= 1
            return False
        self.evictions.update(chosen)
        self.found += len(released)
        self.released |= released
        return True

    def _take_tail(
        self,
        victim: str,
        lacking: int,
        chosen: dict[str, int],
        let_go: list[int],
        released: set[int],
    ) -> None:
        already = self.evictions.get(victim, 0)
        for position, (block, holders) in enumerate(self._ledger.tail_blocks(victim)):
            if position < already:
                continue
            if len(released) >= lacking and self._ledger.can_cut:
                return
            chosen[victim] = position + 1
            let_go.append(block)
            gone = self._let_go[block] = self._let_go.get(block, 0) + 1
            if gone == holders and block not in self._claimed:
                released.add(block)
