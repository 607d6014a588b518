"""Engines that models share: one per configuration, closed with its last user.

A process runs one engine at a time, so models of whichever framework have to take the same one.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from stream2llm_engine import StreamEngine

if TYPE_CHECKING:
    from stream2llm_engine import EngineConfig

__all__ = ["EngineUser", "release_engine", "shared_engine"]


class EngineUser:
    """Whoever uses a shared engine; copies of a model are one user."""


class _Shared:
    def __init__(self, engine: StreamEngine) -> None:
        self.engine = engine
        self.users: weakref.WeakSet[EngineUser] = weakref.WeakSet()


_lock = threading.Lock()
_engines: list[_Shared] = []


def shared_engine(config: EngineConfig, user: EngineUser) -> StreamEngine:
    """Returns the engine of ``config``, not started yet if this is its first user.

    A user that is dropped uses nothing any more. An engine that so lost its last one makes room
    for the next configuration.
    """
    with _lock:
        for shared in _engines:
            if shared.engine.config == config:
                break
        else:
            _close_unused()
            shared = _Shared(StreamEngine(config))
            _engines.append(shared)
        shared.users.add(user)
        return shared.engine


def release_engine(user: EngineUser) -> None:
    """Gives an engine up; closes it if nobody else uses it. The next use starts a new one."""
    with _lock:
        for shared in _engines:
            shared.users.discard(user)
        _close_unused()


def _close_unused() -> None:
    for shared in [shared for shared in _engines if not shared.users]:
        _engines.remove(shared)
        shared.engine.close()
