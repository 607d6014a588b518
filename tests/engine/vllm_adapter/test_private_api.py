"""The installed vLLM still has every private name the adapter uses."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from stream2llm_engine.vllm_adapter import private_api
from stream2llm_engine.vllm_adapter.private_api import (
    VllmCallable,
    find_drift,
    installed_sources,
    wheel_sources,
)

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_wheel_of_another_version_is_read_without_installing_it(tmp_path: Path) -> None:
    wheel = tmp_path / "vllm-9.9.9-py3-none-any.whl"
    source = installed_sources("vllm.v1.request").replace("self.num_preemptions", "self.evictions")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vllm/v1/request.py", source)
    drift = find_drift(wheel_sources(wheel))
    assert "vllm.v1.request.Request.num_preemptions is gone" in drift
    assert "vllm.v1.request.Request.block_hashes is gone" not in drift
    assert any("Scheduler.schedule is gone" in line for line in drift)
