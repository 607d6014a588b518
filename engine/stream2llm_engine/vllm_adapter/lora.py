"""LoRA adapters by their path."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from vllm.lora.request import LoRARequest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lora_request"]

_lock = threading.Lock()
_ids = itertools.count(1)
_requests: dict[str, LoRARequest] = {}


def lora_request(path: str | Path) -> LoRARequest:
    """Returns vLLM's request for the adapter at ``path``, the same one every time.

    Workers tell adapters apart by a number and the prefix cache by name, so both are the path's.
    """
    name = str(path)
    with _lock:
        if name not in _requests:
            _requests[name] = LoRARequest(name, next(_ids), name)
        return _requests[name]
