"""The installed vLLM still has every private name the adapter uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream2llm_engine.vllm_adapter import private_api
from stream2llm_engine.vllm_adapter.private_api import VllmCallable, find_drift

if TYPE_CHECKING:
    import pytest


def test_no_drift() -> None:
    assert find_drift() == []


def test_drift_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        private_api,
        "CALLABLES",
        (
            VllmCallable("vllm.v1.core.sched.scheduler", "Scheduler.schedule", ("speed",)),
            VllmCallable("vllm.v1.core.sched.scheduler", "Scheduler.no_such_method", ()),
        ),
    )
    monkeypatch.setattr(
        private_api, "INSTANCE_ATTRIBUTES", {("vllm.v1.request", "Request"): ("_no_such_field",)}
    )
    changed, gone, field = find_drift()
    assert "takes ('throttle_prefills',), not ('speed',)" in changed
    assert gone.endswith("no_such_method is gone")
    assert field == "vllm.v1.request.Request._no_such_field is gone"
